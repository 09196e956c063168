"""The recipe of DeepSeek-R1's four stages, in small: killed in every stage and started again it is the unbroken run,
byte for byte."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = [
    "stages.cold_start.data={task: addition, size: 64, settings: {digits: 2}}",
    "stages.reasoning.steps=2", "stages.reasoning.prompts_per_step=4",
    "stages.reasoning.data={task: addition, size: 64, settings: {digits: 2}}",
    "stages.samples.data={task: addition, size: 24, settings: {digits: 2}}", "stages.samples.prompts_per_step=12",
    "stages.from_base.data.general.size=16", "stages.from_base.epochs=null", "stages.from_base.steps=2",
    "stages.from_base.prompts_per_step=8",
    "stages.preferences.data.size=32", "stages.preferences.epochs=null", "stages.preferences.steps=2",
    "stages.preferences.prompts_per_step=8", "stages.preferences.eval={sets: {}}",
    "stages.all_scenarios.steps=2", "stages.all_scenarios.prompts_per_step=4", "stages.all_scenarios.group_size=4",
]  # fmt: skip

RUN = """
from r1lab import loop, pipeline
from r1lab.recipe import load
from r1lab.run import progress
from r1lab.rollout import scorers
from r1lab.stages import dataset, sampling

{death}
raw, base = load.read("r1_four_stage", {overrides!r})
raw |= {{"workers": {{"count": 1}}, "checkpoint_every": 1, "max_new_tokens": 40, "eval": {{"sets": {{}}}}}}
pipeline.train(load.resolve({{**raw, "out": {out!r}}}, base), progress.Progress(quiet=True))
"""

DEATHS = {
    "cold_start": "at_call(loop, 'learn', 1)",
    "reasoning": "at_call(loop, 'learn', 4)",
    "samples": "at_call(sampling, 'record', 2)",
    "samples, as its dataset is written": "at_call(dataset, 'card', 1)",
    "from_base": "at_call(loop, 'learn', 6)",
    "preferences": "at_call(loop, 'learn', 8)",
    "all_scenarios": "at_call(loop, 'learn', 10)",
    "all_scenarios, while it scores": "at_call(scorers.ModelScorer, 'score', 2)",
}


@pytest.fixture(scope="module")
def start(forked):
    def run(out: Path, death: str = "") -> int:
        process = forked(RUN.format(death=death, overrides=SMALL, out=str(out)))
        process.join()
        return process.exitcode

    return run


def left(out: Path) -> dict:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]
    names = ("stages/samples/data/train.jsonl", "stages/preferences/model/model.safetensors", "model/model.safetensors")
    return {"rows": json.dumps(kept), **{name: (out / name).read_bytes() for name in names}}


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert start(out) == 0
    return left(out)


def test_every_stage_ran_and_both_kinds_of_reward_were_paid(unbroken):
    rows = json.loads(unbroken["rows"])
    stages = ["cold_start", "reasoning", "samples", "from_base", "preferences", "all_scenarios"]
    assert list(dict.fromkeys(row["stage"] for row in rows)) == stages
    last = [row for row in rows if row["stage"] == "all_scenarios"]
    paid = {key for row in last for key in row if key.startswith("reward/part/")}
    assert paid == {"reward/part/score", "reward/part/language", "reward/part/helpful"}


@pytest.mark.parametrize("death", DEATHS)
def test_killed_in_a_stage_and_started_again_it_is_the_unbroken_run(start, unbroken, tmp_path, death):
    out = tmp_path / "run"
    assert start(out, DEATHS[death]) == -9, "the scenario must have killed the run"
    assert start(out) == 0
    assert left(out) == unbroken
