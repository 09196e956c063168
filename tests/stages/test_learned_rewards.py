"""Rewards that models pay, in whole runs: of an earlier stage, a folder, a judge; by source; refused where they cannot
be."""

import json

import pytest

from r1lab import embedded, pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import load as recipe_file
from r1lab.run import journal
from r1lab.run.progress import Progress
from r1lab.stages.dry_run import dry_run

EASY = {"settings": {"digits": 2}}
SUMS = {"task": "addition", "size": 32, **EASY}
BASE = {
    "name": "learned",
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 12,
    "prompts_per_step": 2,
    "threads": 1,
    "workers": {"count": 1},
}
SCORES = {"kind": "reward_model", "name": "scores", "steps": 2, "prompts_per_step": 8, "learning_rate": 1e-3,
          "data": {"task": "addition_pairs", "size": 16, **EASY}}  # fmt: skip
HELPFUL = {"use": "reward_model", "stage": "scores", "weight": 2.0}
LEARN = {"kind": "rl", "steps": 2, "group_size": 4, "data": SUMS, "reward": {"helpful": HELPFUL}}


def plan(tmp_path, *stages, name="run", **changes):
    return recipe_file.resolve({**BASE, "out": str(tmp_path / name), "stages": list(stages), **changes})


def train(tmp_path, *stages, **changes) -> pipeline.Run:
    return pipeline.train(plan(tmp_path, *stages, **changes), Progress(quiet=True))


def rows_of(run, stage="rl", step=1) -> list[dict]:
    import pyarrow.parquet as pq

    rows = pq.read_table(run.path / "rollouts" / f"{stage}-{step}.parquet").to_pylist()
    return [row | {name: json.loads(row[name]) for name in ("raw", "parts", "verdicts")} for row in rows]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pipeline.Run:
    return train(tmp_path_factory.mktemp("learned"), SCORES, LEARN)


def test_a_stages_reward_model_pays_and_the_verifier_still_says_what_is_true(run):
    rows = rows_of(run)
    assert len(rows) == 8 and {row["status"] for row in rows} <= {"wrong", "correct", "no_answer", "unparsable"}
    assert all(row["reward"] == row["parts"]["helpful"] == 2.0 * row["raw"]["helpful"] for row in rows)
    assert len({row["raw"]["helpful"] for row in rows}) > 1
    last = run.metrics[-1]
    assert last["reward/raw/helpful"] == pytest.approx(last["reward/mean"] / 2) and "reward/part/score" not in last


def test_the_scores_are_those_of_the_folder_in_transformers_pipeline(run):
    from transformers import pipeline as transformers_pipeline

    rows = rows_of(run)
    folder = run.path / "stages/scores/model"
    score = transformers_pipeline("text-classification", model=str(folder), function_to_apply="none", device="cpu")
    # ids, not texts: a completion cut at its limit has no end, and is scored with one
    import torch

    for row in rows[:3]:
        text = row["prompt_text"] + (row["text"] if row["text"][:1].isspace() else f" {row['text']}") + "<eos>"
        ids = torch.tensor([score.tokenizer(text)["input_ids"]])
        assert score.model(ids).logits.item() == pytest.approx(row["raw"]["helpful"], abs=1e-4)


def test_what_a_scorer_reads_is_in_the_ledger_and_not_in_the_budget(run):
    from transformers import AutoModelForSequenceClassification

    rows = rows_of(run) + rows_of(run, step=2)
    # a completion cut at its limit has no end, and is read with one
    read = sum(len(row["prompt_ids"]) + len(row["completion_ids"]) + (row["finish"] == "length") for row in rows)
    model = AutoModelForSequenceClassification.from_pretrained(run.path / "stages/scores/model")
    weights = sum(each.numel() for each in model.parameters()) - model.get_input_embeddings().weight.numel()
    before, last = [row for row in run.metrics if row["stage"] == "scores"][-1], run.metrics[-1]
    assert last["tokens/judged"] == read and last["flops/judge"] == 2 * weights * read
    assert before["tokens/judged"] == before["flops/judge"] == 0, "training a reward model is an update's cost"
    assert last["tokens/budget"] == last["tokens/sampled"] + last["tokens/trained"]


def test_raw_scores_come_back_from_the_journal(run):
    block = journal.read_block(run.path / "rollouts/rl-1.parquet", lambda name: problem(name))
    raw = [member.raw for settled in block for member in settled.drawn.members]
    assert raw == [row["raw"] for row in rows_of(run)]


def problem(name):
    from r1lab_data import Problem

    return Problem(name, "", "")


def test_a_folder_pays_too_and_nothing_is_right_or_wrong_where_there_is_no_verifier(run, tmp_path, rows):
    data = {"path": rows({"prompt": "say 1"}, {"prompt": "say 2"}, {"prompt": "say 3"})}
    helpful = {"use": "reward_model", "path": str(run.path / "stages/scores/model")}
    made = train(tmp_path, {**LEARN, "data": data, "reward": {"helpful": helpful, "length": 0.1}})
    last = made.metrics[-1]
    assert last["pass/share"] is None and last["verdict/wrong"] is None and last["reward/mean"] is not None
    assert last["tokens/sampled"] > 0 and last["completion/mean"] > 0
    assert all(row["status"] is None for row in rows_of(made))


def test_sources_are_paid_each_in_its_own_way(run, tmp_path):
    helpful = {"use": "reward_model", "path": str(run.path / "stages/scores/model")}
    data = {"sums": {**SUMS, "reward": {"score": 3.0}}, "talk": {**SUMS, "seed": 1, "reward": {"helpful": helpful}}}
    made = train(tmp_path, {**LEARN, "data": data, "reward": {"score": 1.0}, "steps": 3})
    by_source = {}
    for step in (1, 2, 3):
        for row in rows_of(made, step=step):
            by_source.setdefault(row["source"], set()).add(tuple(row["parts"]))
    assert by_source == {"sums": {("score",)}, "talk": {("helpful",)}}


def test_a_stage_killed_and_resumed_learns_the_same(run, tmp_path):
    first = {**LEARN, "steps": 1, "schedule_steps": 2}
    train(tmp_path, SCORES, first)
    again = train(tmp_path, SCORES, {**first, "steps": 2})
    plain = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in again.metrics]
    straight = [{key: value for key, value in row.items() if not key.startswith("time/")} for row in run.metrics]
    assert plain == straight
    assert (again.model / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()


def test_scores_that_are_no_numbers_leave_their_groups_and_end_the_run(run, tmp_path, monkeypatch):
    from r1lab.errors import RunError
    from r1lab.rollout import scorers

    monkeypatch.setattr(scorers.ModelScorer, "_forward", lambda self, batch: [[float("nan")] for _ in batch])
    helpful = {"use": "reward_model", "path": str(run.path / "stages/scores/model")}
    stage = {**LEARN, "prompts_per_step": 30, "group_size": 8, "reward": {"helpful": helpful}}
    with pytest.raises(RunError, match=r"could not be judged .* the scorer's score is nan"):
        train(tmp_path, stage)


REWARD = "reward.helpful"


@pytest.mark.parametrize(("stages", "told"), [
    ([{**LEARN}], f"{REWARD}.stage: 'scores' is no earlier stage; name an earlier reward_model stage"),
    ([{**SCORES, "kind": "sft", "data": SUMS}, LEARN], f"{REWARD}.stage: 'scores' is a stage of kind sft"),
    ([SCORES, {**LEARN, "reward": {"helpful": {**HELPFUL, "wieght": 1}}}], f"{REWARD}.wieght: unknown key"),
    ([SCORES, {**LEARN, "reward": {"helpful": {"use": "reward_model"}}}], f"{REWARD}: needs a model"),
    ([SCORES, {**LEARN, "reward": {"helpful": {**HELPFUL, "path": "x"}}}], "are two models"),
    ([SCORES, {**LEARN, "reward": {"helpful": {**HELPFUL, "weight": "x"}}}], f"{REWARD}.weight"),
    ([{**LEARN, "reward": {"helpful": {"use": "reward_model", "path": "./nowhere"}}}], f"{REWARD}.path: './nowhere'"),
    ([{**LEARN, "reward": {"helpful": {"use": "reward_model", "path": "embedded"}}}],
     "is no reward model but LlamaForCausalLM"),
    ([SCORES, {**LEARN, "truncated": "zero"}], "truncated: 'zero' pays the price of score 0"),
    ([SCORES, {**LEARN, "objective": {"preset": "nft"}, "data": {"path": "PROMPTS"}}], "verifier: none for problem"),
    ([SCORES, {**LEARN, "reward": {"length": 1.0}}], "has no part `score`"),
    ([{"kind": "sft", "steps": 1, "data": {**SUMS, "reward": {"score": 1.0}}}], "reward: {'score': 1.0} is paid"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "nowhere.txt", "options": {"a": 1, "b": 0}}}}],
     "reward.polite.prompt: 'nowhere.txt' cannot be read"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION", "options": {"a": 1}}}}],
     "reward.polite.options: {'a': 1.0} say nothing apart"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION", "options": {"a": 1, "b": 1}}}}],
     "say nothing apart; give two or more of different worth"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION", "options": {" ": 1, "b": 0}}}}],
     "' ' is no answer that a model could give"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION", "options": {"a": 1, "b": 2}}}}],
     "reward.polite.options.b: must be less than or equal to 1, got 2.0"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION", "options": {"1": 1, "12": 0}}}}],
     "judge.options: '12' begins with the tokens of '1'"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "QUESTION"}}}],
     "reward.polite.options: missing; a judge must have it"),
    ([SCORES, {**LEARN, "reward": {"helpful": {**HELPFUL, "combine": "sum"}}}],
     f"{REWARD}.combine: must be 'product', 'min', 'mean' or 'last', got 'sum'"),
    ([SCORES, {**LEARN, "reward": {"polite": {"use": "judge", "prompt": "EMPTY", "options": {"a": 1, "b": 0}}}}],
     "holds no {completion}"),
])  # fmt: skip
def test_what_cannot_pay_is_refused_in_one_line(tmp_path, stages, told, rows):
    (tmp_path / "question.txt").write_text("Is {completion} polite?")
    (tmp_path / "empty.txt").write_text("Is it polite?")
    names = {"QUESTION": str(tmp_path / "question.txt"), "EMPTY": str(tmp_path / "empty.txt"),
             "PROMPTS": rows({"prompt": "say"})}  # fmt: skip
    text = json.dumps(stages)
    for name, path in names.items():
        text = text.replace(f'"{name}"', json.dumps(path))
    with pytest.raises(RecipeError) as error:
        train(tmp_path, *json.loads(text))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_scorer_that_reads_less_than_a_completion_may_be_is_refused(run, tmp_path):
    import shutil

    folder = tmp_path / "short"
    shutil.copytree(run.path / "stages/scores/model", folder)
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 20}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        RecipeError, match=r"reward.helpful: the scorer cannot read every completion: .* the context of 20"
    ):
        train(tmp_path, {**LEARN, "reward": {"helpful": {"use": "reward_model", "path": str(folder)}}})


def test_a_judge_pays_by_the_options_of_its_file(tmp_path):
    (tmp_path / "q.txt").write_text("{prompt}\n{completion}\nTidy? yes or no:")
    judge = {"use": "judge", "prompt": str(tmp_path / "q.txt"), "path": str(embedded.path()), "least": 0.0,
             "options": {True: 1, False: 0}, "soft": True}  # fmt: skip
    made = train(tmp_path, {**LEARN, "reward": {"tidy": judge, "score": 1.0}})
    rows = rows_of(made)
    assert all(row["verdicts"]["tidy"]["extracted"] in ("yes", "no") for row in rows)
    assert all(row["raw"]["tidy"] == row["verdicts"]["tidy"]["score"] == row["parts"]["tidy"] for row in rows)


def test_a_dry_run_knows_of_learned_parts(tmp_path):
    assert "stage rl (rl)" in dry_run(plan(tmp_path, SCORES, LEARN))
