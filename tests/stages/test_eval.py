"""An eval stage: the model before it on its sets, resumable, in a folder as `r1lab eval` makes it."""

import json

import pytest

import r1lab
from r1lab import pipeline
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation import difference, runner
from r1lab.recipe import load
from r1lab.rollout import verification
from r1lab.run.folder import evaluation_table
from r1lab.run.progress import Progress
from r1lab.stages import costs, eval
from r1lab.stages.prepare import prepare

SETS = {"n": 2, "sets": {"test": {"task": "addition", "split": "eval", "size": 6, "settings": {"digits": 2}}}}
BASE = {
    "name": "evaluates",
    "data": {"task": "addition", "size": 32, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 8,
    "steps": 1,
    "threads": 1,
    "workers": {"count": 1},
    "engine": {"max_batch": 4},
}
STAGES = [
    {"kind": "eval", "name": "before", "eval": SETS},
    {"kind": "sft", "steps": 1, "eval": {**SETS, "at_start": False}},
    {"kind": "eval", "name": "after", "eval": SETS},
]


def plan(out, stages=STAGES, **changes):
    top = {key: value for key, value in {**BASE, **changes}.items() if key != "steps"}
    return load.resolve({**top, "out": str(out), "stages": stages})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return pipeline.train(plan(tmp_path_factory.mktemp("whole") / "run"), Progress(quiet=True))


def folder(run, stage):
    return run.path / "stages" / stage / "test"


def test_the_model_before_and_after_training_is_evaluated_and_handed_on(whole):
    rows = {(row["stage"], row["step"]): row for row in whole.metrics}
    assert [*rows] == [("before", 0), ("sft", 1), ("after", 0)]
    results = {stage: json.loads((folder(whole, stage) / "results.json").read_text()) for stage in ("before", "after")}
    assert results["before"]["origin"]["weights"] != results["after"]["origin"]["weights"]
    for stage, found in results.items():
        assert rows[stage, 0]["eval/test/avg"] == found["avg"]["value"] and found["n"] == 2
    assert rows["after", 0]["tokens/evaluated"] > rows["before", 0]["tokens/evaluated"] > 0
    assert (whole.model / "model.safetensors").exists()
    assert difference.compare(folder(whole, "after"), folder(whole, "before"))["problems"].keys() >= {"better", "worse"}


def test_a_stage_the_command_and_an_evaluation_during_training_write_the_same_rows(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = {**BASE, "stages": STAGES}
    del recipe["steps"]
    done = r1lab.evaluate(str(whole.model), "test", recipe=recipe, n=2, max_batch=4, threads=1, out="e")
    assert done.rows == runner.read_rows(folder(whole, "after") / "completions.parquet")
    amid = evaluation_table(whole.path, "sft", 1, "test")
    assert done.rows == runner.read_rows(amid)
    figures = [json.loads((each / "results.json").read_text()) for each in (done.path, amid.parent)]
    told = ("manifest", "origin")  # a folder's model has a digest, a policy in memory its run, stage and step
    assert [{key: each[key] for key in each if key not in told} for each in figures[:1]] == [
        {key: each[key] for key in each if key not in told} for each in figures[1:]
    ]
    assert difference.compare(done.path, amid.parent)["problems"] == {"better": 0, "same": 6, "worse": 0}


def test_a_stage_killed_within_a_set_and_resumed_has_the_same_bytes(whole, tmp_path, monkeypatch):
    real, calls = runner.write_rows, []

    def die(path, rows, settings):
        calls.append(path)
        if len(calls) == 3:  # the first of the stage `before` is done, its last block is not
            raise RunError("killed")
        real(path, rows, settings)

    monkeypatch.setattr(runner, "write_rows", die)
    with pytest.raises(RunError, match="killed"):
        pipeline.train(plan(tmp_path / "run"), Progress(quiet=True))
    monkeypatch.setattr(runner, "write_rows", real)
    again = pipeline.train(plan(tmp_path / "run"), Progress(quiet=True))
    for stage in ("before", "after"):
        for name in ("results.json", "completions.parquet"):
            assert (folder(again, stage) / name).read_bytes() == (folder(whole, stage) / name).read_bytes()
    figures = [{key: value for key, value in row.items() if "time/" not in key} for row in again.metrics]
    assert figures == [{key: value for key, value in row.items() if "time/" not in key} for row in whole.metrics]


def test_a_finished_stage_is_not_asked_again_when_the_run_goes_on(whole, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("asked again")

    run = pipeline.train(plan(tmp_path / "run", STAGES[:2]), Progress(quiet=True))
    monkeypatch.setattr(verification, "opened_pool", refuse)
    monkeypatch.setattr(eval, "ModelCompleter", refuse)
    raised = [STAGES[0], {"kind": "sft", "steps": 2}]
    assert pipeline.train(plan(tmp_path / "run", raised), Progress(quiet=True)).metrics[:2] == run.metrics[:2]


def test_a_recipe_of_evaluation_alone_makes_no_model_and_says_what_it_costs(tmp_path):
    made = plan(tmp_path / "run", STAGES[:1])
    assert any("stage before: 6 held-out problems x 2" in line for line in costs.lines(prepare(made)))
    run = pipeline.train(made, Progress(quiet=True))
    assert run.model is None and (folder(run, "before") / "results.json").exists()


@pytest.mark.parametrize("stages, says", [
    ([{"kind": "eval"}], "eval.sets: missing in stage 'eval'"),
    ([{"kind": "eval", "eval": SETS, "data": {"task": "addition"}}], "data: an eval stage has none"),
    ([{"kind": "eval", "eval": SETS, "steps": 3}], "steps: an eval stage has none"),
    ([{"kind": "eval", "eval": {**SETS, "keep_best": "eval/test/avg"}}], "makes no model"),
    ([{"kind": "eval", "eval": SETS}, {"kind": "sft", "from": "eval"}], "is an eval stage, which makes no model"),
    ([{"kind": "eval", "eval": SETS, "from": "sft"}], "'sft' is no earlier stage"),
    ([{"kind": "evil"}], "must be one of sft, rl, reject, judge, eval"),
])  # fmt: skip
def test_a_mistake_is_refused_in_one_line(tmp_path, stages, says):
    with pytest.raises(RecipeError) as error:
        plan(tmp_path / "run", stages)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_set_in_the_training_data_of_another_stage_is_refused(tmp_path):
    leaking = {"sets": {"test": {"task": "addition", "size": 8, "settings": {"digits": 2}}}}
    with pytest.raises(RecipeError, match="8 of 8 problems stand in the training data"):
        prepare(plan(tmp_path / "run", [{"kind": "sft", "steps": 1}, {"kind": "eval", "eval": leaking}]))
