"""A reject stage killed anywhere and started again gives the same dataset, metrics and model, byte for byte."""

import json
from pathlib import Path

import pytest

RECIPE = {
    "name": "killed",
    "data": {"task": "addition", "size": 12, "settings": {"digits": 3}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 40,
    "learning_rate": 3e-4,
    "threads": 1,
    "workers": {"count": 1},
    "prompts_per_step": 5,
    "stages": [{"kind": "reject", "group_size": 4}, {"kind": "sft", "steps": 1, "data": {"stage": "reject"}}],
}

RUN = """
from r1lab import loop, pipeline
from r1lab.recipe import load as recipe_file
from r1lab.run import checkpoint, files, progress, journal as tables
from r1lab.stages import dataset, sampling, train

{death}
pipeline.train(recipe_file.resolve({recipe!r}), progress.Progress(quiet=True))
"""

DEATHS = {
    "while a table is written": "at_call(tables, '_verdict_columns', 2)",
    "between a table and its row": "at_call(sampling, 'record', 3)",
    "while the dataset is written": "at_call(dataset, 'card', 1)",
    "after the dataset, before the next stage": "at_call(train, 'Policy', 1)",
}


@pytest.fixture(scope="module")
def start(forked):
    """Exit code of a process that runs the recipe in `out`, dying as told."""

    def run(out: Path, death: str = "") -> int:
        process = forked(RUN.format(death=death, recipe={**RECIPE, "out": str(out)}))
        process.join()
        return process.exitcode

    return run


def left(out: Path) -> dict[str, bytes | str]:
    """What must not differ: rows without times, the dataset, its card, the model."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]
    files = ("stages/reject/data/train.jsonl", "stages/reject/data/README.md", "model/model.safetensors")
    return {"rows": json.dumps(kept), **{name: (out / name).read_bytes() for name in files}}


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(out) == 0
    return left(out)


@pytest.mark.parametrize(
    "death", [next(iter(DEATHS)), *(pytest.param(each, marks=pytest.mark.slow) for each in [*DEATHS][1:])]
)
def test_killed_and_started_again_equals_unbroken(start, unbroken, tmp_path, death):
    out = tmp_path / "run"
    assert start(out, DEATHS[death]) == -9, "the scenario must have killed the run"
    assert start(out) == 0
    assert left(out) == unbroken
