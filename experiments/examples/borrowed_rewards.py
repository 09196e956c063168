"""Train with reward functions written for TRL, verl and OpenRLHF, as they are.

    python experiments/examples/borrowed_rewards.py [FOLDER]

The problem's verifier is TRL's form; verl's and OpenRLHF's are paid beside it. The dataset is laid out as verl's are:
its other columns reach all three.
"""

import json
import sys
from pathlib import Path

import r1lab


def holds(completions, level, answer, **kwargs):  # TRL: lists, and every column by its name; None: nothing to say
    return [None if hard > 2 else float(gold in text) for text, gold, hard in zip(completions, answer, level)]


def compute_score(data_source, solution_str, ground_truth, extra_info=None):  # verl: one completion
    return {"score": 1.0 if ground_truth in solution_str else -1.0, "digits": len(str(extra_info["index"]))}


def reward_func(queries, prompts, labels):  # OpenRLHF: a query is its prompt and the completion behind it
    return {"rewards": [float(len(query) - len(prompt) < 80) for query, prompt in zip(queries, prompts)]}


def sums(count):
    for number in range(count):
        yield {
            "data_source": "sums", "prompt": f"{number}+{number}", "level": 1 + number % 3,
            "reward_model": {"style": "rule", "ground_truth": str(2 * number)}, "extra_info": {"index": number},
        }  # fmt: skip


RECIPE = {
    "name": "borrowed",
    "data": {"path": "sums.jsonl"},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "verifier": {"use": "borrowed_rewards:holds", "as": "trl"},
    "reward": {
        "score": 1.0,
        "signed": {"use": "borrowed_rewards:compute_score", "as": "verl", "range": [-1, 1], "weight": 0.2},
        "short": {"use": "borrowed_rewards:reward_func", "as": "openrlhf", "weight": 0.1},
    },
    "max_new_tokens": 32,
    "prompts_per_step": 8,
    "learning_rate": 1e-4,
    "threads": 1,
    "steps": 2,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/borrowed_rewards")
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = folder.parent / "sums.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in sums(64)))
    run = r1lab.train(RECIPE | {"data": {"path": str(data)}}, f"out={folder}")
    for row in run.metrics:
        print(row["step"], {key: row[key] for key in row if key.startswith(("reward/", "verdict/abstained"))})
