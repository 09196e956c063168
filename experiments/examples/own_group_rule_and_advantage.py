"""A group rule and an advantage of one's own, named in the recipe by dotted path `module:name`.

    python experiments/examples/own_group_rule_and_advantage.py [FOLDER]

The rule learns from the two best and the two worst of a group of eight; the advantage is r - median.
"""

import sys
from dataclasses import dataclass

import numpy as np

import r1lab
from r1lab.objective.group import All, Drop, Keep
from r1lab.records import Group


@dataclass(frozen=True)
class Extremes(All):
    """Samples as the built-in `all` does and keeps the `keep` best and `keep` worst members, in their order."""

    keep: int = 2

    def settle(self, group: Group) -> Keep | Drop:
        order = sorted(range(len(group.members)), key=lambda index: group.members[index].reward)
        if group.members[order[0]].reward == group.members[order[-1]].reward:
            return Drop("zero_variance")  # counted by its reason in the metrics
        chosen = sorted({*order[: self.keep], *order[-self.keep :]})
        return Keep(Group(group.draw, tuple(group.members[index] for index in chosen)))


def median(rewards: np.ndarray) -> np.ndarray:
    """A = r - median, float64 [K] of one group's rewards: one outlier does not move the baseline."""
    return rewards - np.median(rewards)


OBJECTIVE = {
    "group": {"select": "own_group_rule_and_advantage:Extremes", "keep": 2},
    "advantage": "own_group_rule_and_advantage:median",
}
RECIPE = {"data": {"task": "addition", "size": 256}, "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 48}
SIZES = {"prompts_per_step": 8, "learning_rate": 1e-4, "threads": 1, "steps": 3}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/own_group_rule_and_advantage"
    run = r1lab.train({"name": "median", **RECIPE, **SIZES, "objective": OBJECTIVE}, f"out={folder}")
    for row in run.metrics:
        print(row["step"], row["reward/mean"], {key: row[key] for key in row if key.startswith("group/")})
