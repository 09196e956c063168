"""A run with a curriculum that is stopped and taken up again draws what the unbroken one draws."""

import pyarrow.parquet as pq
import pytest

import r1lab
from r1lab.errors import RecipeError

RUN = {
    "name": "drawn", "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 24, "threads": 1, "steps": 3,
    "data": {"task": "addition", "size": 24, "settings": {"digits": 1}}, "prompt": {"format": "Q: {prompt}\nA:"},
    "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "learning_rate": 1e-3, "checkpoint_every": 1,
}  # fmt: skip


def drawn(run):
    return [
        [
            (row["draw"], row["problem_id"])
            for row in pq.read_table(run.path / "rollouts" / f"rl-{step}.parquet").to_pylist()
        ]
        for step in range(1, 4)
    ]


@pytest.mark.parametrize("curriculum", [{"use": "mopps", "pool": 12}, {"use": "sec", "by": "carries"}])
def test_draws_and_numbers_are_those_of_the_unbroken_run(tmp_path, curriculum):
    whole = r1lab.train({**RUN, "curriculum": curriculum, "out": str(tmp_path / "whole")})
    r1lab.train({**RUN, "curriculum": curriculum, "out": str(tmp_path / "parts"), "steps": 2})
    parts = r1lab.train({**RUN, "curriculum": curriculum, "out": str(tmp_path / "parts")})
    assert drawn(parts) == drawn(whole)
    assert [row["loss/value"] for row in parts.metrics] == [row["loss/value"] for row in whole.metrics]


def test_kinds_that_are_not_there_are_refused_before_anything_is_written(tmp_path):
    for curriculum, says in (
        ("sec", "all problems are of one kind, 'addition'"),
        ({"use": "dump", "by": "x"}, "column 'x'"),
    ):
        with pytest.raises(RecipeError, match=says):
            r1lab.train({**RUN, "curriculum": curriculum, "out": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()
