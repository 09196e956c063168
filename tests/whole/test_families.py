"""One method of each family learns: a short run of the embedded model gains on held-out problems."""

import pytest

import r1lab
from r1lab.evaluation.folder import read_rows
from r1lab.run.folder import COMPLETIONS
from r1lab.stats.intervals import paired_difference

pytestmark = pytest.mark.slow


def sums(digits, max_new_tokens, held_out):
    """Training on sums of so many digits, and held-out ones."""
    data = {"task": "addition", "settings": {"digits": digits}}
    sets = {"held_out": {**data, "split": "eval", "size": held_out}}
    return {"data": data | {"size": 2048}, "max_new_tokens": max_new_tokens, "eval": {"sets": sets}}


ON_POLICY = sums(2, 40, 96) | {
    "kind": "rl", "prompts_per_step": 16, "group_size": 8, "steps": 7, "learning_rate": 3e-4
}  # fmt: skip
IMITATION = sums(3, 64, 192) | {"kind": "sft", "prompts_per_step": 32, "steps": 14, "learning_rate": 1e-3}
FAMILIES = {
    "reinforce-like": ({"preset": "rloo"}, ON_POLICY),
    "ppo-clip": ({"preset": "dapo"}, ON_POLICY | {"updates_per_step": 2}),
    "cispo": ({"preset": "cispo"}, ON_POLICY | {"updates_per_step": 2}),
    "gspo": ({"preset": "gspo"}, ON_POLICY | {"updates_per_step": 2}),
    "positive and negative samples": ({"preset": "w_reinforce"}, ON_POLICY),
    "covariance": ({"preset": "kl_cov"}, ON_POLICY | {"updates_per_step": 2}),
    "entropy": ({"preset": "entropy_advantage"}, ON_POLICY),
    "sft variants": ({"preset": "dft"}, IMITATION),
    "critic": ({"preset": "ppo"}, ON_POLICY),
}
BASE = {
    "prompt": {"format": "Q: {prompt}\nA:"}, "verifier": "numeric", "threads": 1, "optimizer": {"warmup_updates": 2}
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_a_short_run_gains_on_held_out_problems(tmp_path, family):
    objective, knobs = FAMILIES[family]
    run = r1lab.train({"name": "family", "out": str(tmp_path / "run"), "objective": objective, **BASE, **knobs})
    scores = [
        {row["problem_id"]: row["score"] for row in read_rows(path)}
        for step in (0, knobs["steps"])
        for path in run.path.glob(f"eval/*-{step}-held_out/{COMPLETIONS}")
    ]
    gain = paired_difference(scores[1], scores[0])
    assert gain.low > 0, f"{family}: {gain}"
