"""Rejection sampling as a stage: a dataset of verified samples, counted, resumable, read by the next stage."""

import json

import pytest

from r1lab import pipeline
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load as recipe_file
from r1lab.report import figures
from r1lab.report.report import report
from r1lab.run import journal as tables
from r1lab.run.progress import Progress
from r1lab_data.loaders import load

SAMPLE = {"kind": "reject", "name": "samples", "group_size": 4, "keep": {"max_per_problem": 2}}
BASE = {
    "name": "reject",
    "data": {"task": "addition", "size": 20, "settings": {"digits": 3}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 40,
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 8,
    "threads": 1,
    "workers": {"count": 1},
}
TEST = {"every": 0, "sets": {"test": {"task": "addition", "split": "eval", "size": 16, "settings": {"digits": 3}}}}
LINEAR = {"schedule": "linear", "warmup_updates": 0}
LEARN = {"kind": "sft", "epochs": 2, "data": {"stage": "samples"}, "eval": TEST, "optimizer": LINEAR}


def plan(tmp_path, *stages, **changes):
    return recipe_file.resolve({**BASE, "out": str(tmp_path / "run"), "stages": list(stages), **changes})


def train(tmp_path, *stages, **changes) -> pipeline.Run:
    return pipeline.train(plan(tmp_path, *stages, **changes), Progress(quiet=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pipeline.Run:
    return train(tmp_path_factory.mktemp("reject"), SAMPLE, LEARN)


def test_every_problem_is_sampled_once_and_what_is_verified_is_kept(run):
    rows = [row for row in run.metrics if row["stage"] == "samples"]
    assert [row["group/drawn"] for row in rows] == [8, 8, 4] and rows[-1]["reject/sampled"] == 80
    drawn = [member for step in (1, 2, 3) for member in members(run, step)]
    assert len({member["problem_id"] for member in drawn}) == 20 and len(drawn) == 80
    right = {(member["draw"], member["index"]) for member in drawn if member["score"] == 1.0}
    made = [json.loads(line) for line in (run.path / "stages/samples/data/train.jsonl").read_text().splitlines()]
    assert 0 < len(made) == rows[-1]["reject/kept"] and {(row["draw"], row["index"]) for row in made} <= right
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert {row["recipe"] for row in made} == {manifest["hash"]} and {row["model"] for row in made} == {"embedded"}
    assert {row["verifier_version"] for row in made} == {manifest["verifiers"]["numeric"]["source"]}


def members(run, step) -> list[dict]:
    import pyarrow.parquet as pq

    columns = ["draw", "index", "problem_id", "score", "num_tokens"]
    return pq.read_table(run.path / "rollouts" / f"samples-{step}.parquet", columns=columns).to_pylist()


def test_sampled_tokens_count_as_budget_and_nothing_is_trained(run):
    last = [row for row in run.metrics if row["stage"] == "samples"][-1]
    sampled = sum(member["num_tokens"] for step in (1, 2, 3) for member in members(run, step))
    assert last["tokens/budget"] == last["tokens/sampled"] == sampled and last["tokens/trained"] == 0
    assert last["flops/rollout"] > 0 == last["flops/update"]


def test_the_next_stage_learns_from_the_samples_for_its_epochs(run, monkeypatch):
    monkeypatch.setattr(figures, "CHARTS", figures.CHARTS[:2])  # all of them: test_report.py
    made = load(str(run.path / "stages" / "samples" / "data"), source="s", columns={"solution": "solution"})
    rows = [row for row in run.metrics if row["stage"] == "sft"]
    assert [row["step"] for row in rows] == list(range(-(-2 * len(made) // 8) + 1))
    assert rows[-1]["update/learning_rate"] < rows[1]["update/learning_rate"], "the schedule knows the steps"
    journal = tables.read_block(run.path / "rollouts" / "sft-1.parquet", {f"data/{i}": None for i in ()}.get)
    assert {settled.drawn.members[0].rollout.text for settled in journal} <= {problem.solution for problem in made}
    assert "eval/test/avg" in rows[-1] and (run.model / "config.json").is_file()
    card = (run.model / "README.md").read_text()
    assert "stage samples" in card and "SFT on demonstrations" in card
    assert report([run.path]).stat().st_size > 10_000


def test_a_reject_stage_alone_leaves_a_dataset_and_no_model(tmp_path):
    run = train(tmp_path, {**SAMPLE, "steps": 1})
    assert run.model is None and not (run.path / "model").exists() and len(run.metrics) == 1
    longer = train(tmp_path, {**SAMPLE, "steps": 2})
    straight = train(tmp_path / "straight", {**SAMPLE, "steps": 2})
    data = "stages/samples/data/train.jsonl"
    assert (longer.path / data).read_bytes() == (straight.path / data).read_bytes()


@pytest.mark.slow
def test_a_budget_ends_the_stage_with_a_smaller_step_and_may_be_raised(tmp_path):
    data = {**BASE["data"], "size": 64}
    short = train(tmp_path, SAMPLE, data=data, stop={"max_tokens": 1500})
    assert short.metrics[-1]["group/drawn"] < 8 and 1300 < short.metrics[-1]["tokens/budget"] < 1600
    raised = train(tmp_path, SAMPLE, data=data, stop={"max_tokens": 2500})
    assert len(raised.metrics) > len(short.metrics) and 2200 < raised.metrics[-1]["tokens/budget"] < 2700
    drawn = [member["draw"] for step in range(1, len(raised.metrics) + 1) for member in members(raised, step)]
    assert sorted(set(drawn)) == list(range(len(drawn) // 4)), "no problem is passed over or sampled twice"


def test_a_selection_that_filters_empty_ends_the_run_and_says_which_filter(tmp_path):
    with pytest.raises(RunError, match=r"stage samples: none of 80 completions is left: .* min_tokens, emptied it"):
        train(tmp_path, {**SAMPLE, "keep": {"min_tokens": 41}})
    assert not (tmp_path / "run" / "stages" / "samples").exists()


def test_samples_of_training_problems_that_are_evaluated_are_refused(tmp_path):
    leak = {"sets": {"test": {"task": "addition", "size": 8, "settings": {"digits": 3}}}}
    with pytest.raises(RecipeError, match=r"eval.sets.test: .* problems stand in the training data too"):
        train(tmp_path, SAMPLE, {**LEARN, "eval": leak})


def test_rl_on_the_problems_that_were_solved_judges_them_by_their_own_verifier(tmp_path):
    learn = {"kind": "rl", "steps": 1, "group_size": 4, "data": {"stage": "samples", "distinct": "text"}}
    run = train(tmp_path, {**SAMPLE, "steps": 1}, learn)
    assert run.metrics[-1]["stage"] == "rl" and run.metrics[-1]["verdict/error"] == 0
