"""The step benchmark compares two trainers only where both do the same work."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def step(monkeypatch):
    """The script as a module; its folder comes first on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("step", "step_report", "step_work"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import step

    return step


@pytest.fixture
def small(step):
    """Few prompts for the embedded model."""
    from step_work import Work

    return Work(
        model="embedded", folder="", num_problems=4, group_size=4, max_new_tokens=16, steps=1, threads=1,
        grad_clip=1.0, micro_batch_tokens=256, micro_batch=8,
    )  # fmt: skip


def test_the_same_completions_and_rewards_give_the_same_gradients_in_trl(step, small, tmp_path):
    pytest.importorskip("trl")
    work, agreement = step.prove(small, tmp_path)
    assert agreement["cosine"] >= 0.99999 and agreement["norm_error"] <= 1e-4
    assert len(work.prompts) == 4 and all(prompt.endswith("\nA:") for prompt in work.prompts)
    assert not list(tmp_path.iterdir())


def test_no_two_members_of_a_group_are_paid_the_same(step):
    from step_work import reward

    rewards = [reward(number, index) for number in range(20) for index in range(512)]
    assert len(set(rewards)) == len(rewards) and min(rewards) >= 0 and max(rewards) < 1


def test_a_missed_limit_does_not_hold_and_a_row_without_one_does(step):
    from bars import row

    assert not row("gradient_cosine", 0.9, ">=", 0.999)["holds"]
    assert not row("gradient_norm_error", 0.02, "<=", 0.01)["holds"]
    assert row("whole_step_vs_trl", 0.5, ">=", None)["holds"]


@pytest.mark.slow
def test_a_worker_that_dies_says_why(step, small):
    from dataclasses import replace

    with pytest.raises(step.WorkerError, match=r"ours ended with 1: .*nowhere"):
        step.Worker("ours", replace(small, folder="nowhere/at/all"))
