"""Datasets that a model samples for itself: problems of a pass rate, pairs by verdicts, by a judge, by revision; later
stages read them, and a kill changes none."""

import json
from types import SimpleNamespace

import pytest

from r1lab import embedded, pipeline
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import load as recipe_file
from r1lab.recipe.scorers import JudgeScorerConfig
from r1lab.rollout.judges import Judge
from r1lab.run.progress import Progress

SUMS = {"task": "addition", "size": 12, "settings": {"digits": 3}}
BASE = {
    "name": "sampling",
    "data": SUMS,
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 40,
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 6,
    "threads": 1,
    "workers": {"count": 1},
}
PROBLEMS = {"kind": "reject", "name": "made", "group_size": 4, "write": "problems", "keep": {"pass_rate": [0.2, 0.8]}}
PAIRS = {"kind": "reject", "name": "made", "group_size": 8, "write": "pairs", "keep": {"max_per_problem": 2}}
JUDGED = {"kind": "judge", "name": "made", "group_size": 4, "max_new_tokens": 12,
          "judge": {"prompt": "which.txt", "options": {"A": 1, "B": 0}, "least": 0.0}}  # fmt: skip
REVISED = {
    "kind": "reject", "name": "made", "group_size": 2, "max_new_tokens": 12,
    "keep": {"threshold": 0.0, "truncated": True},
    "revise": {"critique": "critique.txt", "revision": "revision.txt", "principles": "principles.txt"},
}  # fmt: skip
FILES = {
    "which.txt": "{prompt}\nA: {first}\nB: {second}\n{principle}\nWhich?",
    "critique.txt": "{prompt} {completion} {principle}\nCritique:",
    "revision.txt": "{completion} {critique}\nRevision:",
    "principles.txt": "Be short.\n\nBe tidy.\n",
}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def train(tmp_path, *stages, name="run", **changes) -> pipeline.Run:
    recipe = {**BASE, "out": str(tmp_path / name), "stages": list(stages), **changes}
    return pipeline.train(recipe_file.resolve(recipe), Progress(quiet=True))


def dataset(run) -> list[dict]:
    return [json.loads(line) for line in (run.path / "stages/made/data/train.jsonl").read_text().splitlines()]


def members(run, step=1) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(run.path / "rollouts" / f"made-{step}.parquet").to_pylist()


def test_problems_are_kept_by_their_pass_rate_and_learned_from(tmp_path):
    learn = {"kind": "rl", "steps": 1, "group_size": 2, "data": {"stage": "made"}}
    run = train(tmp_path, PROBLEMS, learn)
    rates = {}
    for member in members(run) + members(run, 2):
        rates.setdefault(member["problem_id"], []).append(member["score"] == 1)
    rates = {name: sum(right) / len(right) for name, right in rates.items()}
    rows = dataset(run)
    assert {row["problem"]: row["pass_rate"] for row in rows} == {n: r for n, r in rates.items() if 0.2 <= r <= 0.8}
    assert run.metrics[1]["reject/sampled"] == 12 and run.metrics[1]["reject/kept"] == len(rows)
    assert "lie outside keep.pass_rate" in (run.path / "stages/made/data/README.md").read_text()
    assert run.metrics[-1]["stage"] == "rl"


def test_a_right_completion_is_chosen_over_a_wrong_one_and_later_stages_learn_it(tmp_path):
    kinds = ("preference", "reward_model")
    learn = [{"kind": kind, "data": {"stage": "made"}, "prompts_per_step": 2, "model": "embedded"} for kind in kinds]
    shared = {key: value for key, value in BASE.items() if key not in ("max_new_tokens", "workers", "data")}
    run = train(tmp_path, {**PAIRS, "max_new_tokens": 40, "workers": {"count": 1}, "data": SUMS}, *learn, **shared)
    rows = dataset(run)
    scores = {(m["draw"], m["index"]): m["score"] for step in (1, 2) for m in members(run, step)}
    assert rows and all(scores[row["draw"], row["chosen_index"]] == 1 for row in rows)
    assert all(scores[row["draw"], row["rejected_index"]] == 0 for row in rows)
    for kind in kinds:
        learned = [row for row in run.metrics if row["stage"] == kind]
        assert len(learned) == -(-len(rows) // 2), "an epoch, as soon as it is known"
        assert learned[-1]["loss/value"] > 0


class Scripted:
    """A judge with known preferences: `worth` of a text decides, `bias` is added to what stands first."""

    def __init__(self, worth, bias=0.0):
        self.worth, self.bias, self.asked = worth, bias, []

    def judging(self, **parts):
        return 5, 50

    def preferences(self, *, first, second, **parts):
        self.asked.append(parts)
        lead = self.worth(first) - self.worth(second)

        def chance(value):
            return 0.5 + max(-0.5, min(0.5, value))

        return chance(lead + self.bias), 1 - chance(-lead + self.bias)


def judged(tmp_path, monkeypatch, judge, stage=JUDGED, **changes) -> pipeline.Run:
    monkeypatch.setattr("r1lab.stages.sampling.Judge", Scripted)
    monkeypatch.setattr("r1lab.stages.build.made", lambda spec, location: judge)
    return train(tmp_path, stage, **changes)


def test_a_judge_with_known_preferences_yields_exactly_these_pairs(tmp_path, monkeypatch):
    run = judged(tmp_path, monkeypatch, Scripted(lambda text: -0.01 * len(text)))
    texts = {(m["draw"], m["index"]): m["text"].strip() for step in (1, 2) for m in members(run, step)}
    wanted = set()
    for draw, index in texts:
        if index % 2 == 0:
            one, other = texts[draw, index], texts[draw, index + 1]
            if one and other and len(one) != len(other):
                wanted.add((draw, index, index + 1) if len(one) < len(other) else (draw, index + 1, index))
    rows = dataset(run)
    assert {(row["draw"], row["chosen_index"], row["rejected_index"]) for row in rows} == wanted and wanted
    assert all(0.5 < row["preference"] <= 1 for row in rows)
    last = run.metrics[-1]
    assert last["reject/sampled"] == 24 == len(rows) + sum(last[f"reject/refused/{name}"] for name in
                                                           ("empty", "duplicate", "unanswered", "tie"))  # fmt: skip
    unequal = 24 - last["reject/refused/empty"] - last["reject/refused/duplicate"]
    assert (last["tokens/judged"], last["flops/judge"]) == (5 * unequal, 50 * unequal) and unequal


def test_a_judge_that_always_says_a_yields_none(tmp_path, monkeypatch):
    with pytest.raises(RunError, match=r"none of 24 pairs is left: .* were ties"):
        judged(tmp_path, monkeypatch, Scripted(lambda text: 0.0, bias=0.4))


def test_a_judge_that_does_not_answer_yields_none(tmp_path, monkeypatch):
    silent = SimpleNamespace(preferences=lambda **parts: None, judging=lambda **parts: (5, 50))
    monkeypatch.setattr("r1lab.stages.sampling.Judge", SimpleNamespace)
    monkeypatch.setattr("r1lab.stages.build.made", lambda spec, location: silent)
    with pytest.raises(RunError, match="got no answer of the judge's"):
        train(tmp_path, JUDGED)


def test_each_pair_draws_a_principle_and_the_draw_is_the_same_again(tmp_path, monkeypatch):
    stage = {**JUDGED, "principles": "principles.txt"}
    first, again = Scripted(len), Scripted(len)
    judged(tmp_path, monkeypatch, first, stage, name="a")
    run = judged(tmp_path, monkeypatch, again, stage, name="b")
    assert first.asked == again.asked and {row["principle"] for row in dataset(run)} == {"Be short.", "Be tidy."}


def test_a_models_own_options_decide(tmp_path):
    """The embedded model knows nothing of letters: its answer is a position, so nearly all are ties."""
    run_or_none = JUDGED | {"steps": 1}
    try:
        rows = dataset(train(tmp_path, run_or_none))
    except RunError as error:
        rows = []
        assert "were ties" in str(error)
    assert len(rows) < 12


def test_a_completion_is_criticised_and_revised_and_the_revision_is_kept(tmp_path):
    run = train(tmp_path, REVISED)
    calls = [member for step in (1, 2) for member in members(run, step)]
    assert len(calls) == 12 * 2 * 3
    by_id = {(call["draw"], call["index"]): call for call in calls}
    for (draw, index), call in by_id.items():
        if index >= 4:
            assert call["prompt_text"].endswith("Revision:") and by_id[draw, index - 4]["text"] in call["prompt_text"]
        elif index >= 2:
            assert call["prompt_text"].endswith("Critique:") and "Be " in call["prompt_text"]
    rows = dataset(run)
    assert rows and all(row["index"] >= 4 for row in rows)


def test_of_pairs_the_revision_is_chosen(tmp_path):
    rows = dataset(train(tmp_path, {**REVISED, "write": "pairs"}))
    assert rows and all(row["chosen_index"] == row["rejected_index"] + 4 for row in rows)


@pytest.mark.parametrize("stage", [
    pytest.param(PROBLEMS, marks=pytest.mark.slow, id="problems"), pytest.param(PAIRS, id="pairs"),
    pytest.param(REVISED, marks=pytest.mark.slow, id="revised"),
    pytest.param(JUDGED, marks=pytest.mark.slow, id="judged"),
])  # fmt: skip
def test_a_stage_that_goes_on_writes_the_same_bytes(tmp_path, monkeypatch, stage):
    monkeypatch.setattr("r1lab.stages.sampling.Judge", Scripted)
    monkeypatch.setattr("r1lab.stages.build.made", lambda spec, location: Scripted(len))
    train(tmp_path, {**stage, "steps": 1})
    longer, straight = train(tmp_path, {**stage, "steps": 2}), train(tmp_path, {**stage, "steps": 2}, name="straight")
    for name in ("train.jsonl", "README.md"):
        both = [(run.path / "stages/made/data" / name).read_bytes() for run in (longer, straight)]
        assert both[0] == both[1]


def test_prompts_without_answers_can_be_revised(tmp_path, rows):
    data = {"path": rows({"prompt": "say 1"}, {"prompt": "say 2"})}
    made = dataset(train(tmp_path, {**REVISED, "data": data}))
    assert made and {row["score"] for row in made} == {None}


@pytest.mark.parametrize(("stages", "told"), [
    ([{**PROBLEMS, "keep": {}}], "write: problems without keep.pass_rate"),
    ([{**PROBLEMS, "keep": {"pass_rate": [0.8, 0.2]}}], "exchange them"),
    ([{**PROBLEMS, "keep": {"pass_rate": [0.2, 1.2]}}], "pass_rate"),
    ([{**PAIRS, "keep": {"pass_rate": [0.2, 0.8]}}], "write: pairs with keep.pass_rate"),
    ([{**REVISED, "write": "problems", "keep": {"pass_rate": [0, 1]}}], "revise: problems are kept by"),
    ([{**JUDGED, "group_size": 3}], "give an even number"),
    ([{**JUDGED, "judge": {**JUDGED["judge"], "prompt": "critique.txt"}}], "holds no {first} and no {second}"),
    ([{**JUDGED, "judge": {**JUDGED["judge"], "prompt": "none.txt"}}], "judge.prompt: 'none.txt' cannot be read"),
    ([{**JUDGED, "judge": {**JUDGED["judge"], "stage": "x"}}], "judge.stage: 'x' is no earlier stage"),
    ([{**JUDGED, "principles": "none.txt"}], "principles: 'none.txt' cannot be read"),
    ([{**REVISED, "revise": {**REVISED["revise"], "revision": "critique.txt"}}], "holds no {critique}"),
    ([PROBLEMS, {"kind": "sft", "data": {"stage": "made"}}], "makes problems without demonstrations"),
    ([PAIRS, {"kind": "sft", "data": {"stage": "made"}}], "makes pairs of completions"),
    ([PROBLEMS, {"kind": "preference", "data": {"stage": "made"}}], "'made' makes problems without demonstrations"),
    ([{**PAIRS, "write": "solutions"}, {"kind": "preference", "data": {"stage": "made"}}],
     "makes demonstrations, which are not labelled"),
    ([PAIRS, {"kind": "reward_model", "data": [{"stage": "made"}, {"task": "addition_labels", "size": 8}]}],
     "labelled completions beside the pairs"),
])  # fmt: skip
def test_a_mistake_is_one_line_before_anything_is_written(tmp_path, stages, told):
    absent = ("max_new_tokens", "workers") if stages[-1]["kind"] == "reward_model" else ()
    shared = {key: value for key, value in BASE.items() if key not in absent}
    recipe = {**shared, "out": str(tmp_path / "run"), "stages": stages}
    with pytest.raises(RecipeError) as error:
        pipeline.train(recipe_file.resolve(recipe), Progress(quiet=True))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_judge_asks_both_ways_and_by_the_texts_alone(tmp_path):
    config = JudgeScorerConfig(prompt="which.txt", options={"A": 1, "B": 0}, least=0.0)
    judge = Judge(config, str(embedded.path()), FILES["which.txt"])
    parts = {"prompt": "1+1", "principle": ""}
    there, back = judge.preferences(first="2", second="3", **parts), judge.preferences(first="3", second="2", **parts)
    assert there == (1 - back[1], 1 - back[0]) and len(judge.remembered) == 2
    length = len(judge.model.model.tokenizer("1+1\nA: 2\nB: 3\n\nWhich?")["input_ids"])
    tokens, flops = judge.judging(first="2", second="3", **parts)
    # two orders, two options of a space and a letter; a question that is remembered is counted again
    assert tokens == 4 * (length + 2) and flops == 2 * judge.parameters * tokens
