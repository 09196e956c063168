"""A reward model as a stage: it learns from each kind of data, goes on bit for bit, and its folder is transformers'."""

import json
import re

import pytest

from r1lab import embedded, pipeline
from r1lab.errors import RecipeError
from r1lab.recipe import load as recipe_file
from r1lab.report.report import report
from r1lab.run.progress import Progress
from r1lab.stages.dry_run import dry_run

BASE = {
    "name": "scores",
    "kind": "reward_model",
    "prompt": {"format": "Q: {prompt}\nA:"},
    "learning_rate": 1e-3,
    "optimizer": {"warmup_updates": 0},
    "prompts_per_step": 8,
    "steps": 2,
    "threads": 1,
}
EASY = {"settings": {"digits": 2}}
PAIR = {"prompt": "1+1", "chosen": "2", "rejected": "3"}


def source(task, **more):
    return {"task": task, "size": 32, **EASY, **more}


def plan(tmp_path, task="addition_pairs", name="run", **changes):
    sets = {"held_out": source(task, split="eval", size=16)}
    recipe = {**BASE, "data": source(task), "eval": {"sets": sets}, "out": str(tmp_path / name), **changes}
    return recipe_file.resolve(recipe)


def train(tmp_path, *arguments, **changes) -> pipeline.Run:
    return pipeline.train(plan(tmp_path, *arguments, **changes), Progress(quiet=True))


def weights(run) -> bytes:
    return (run.path / "model/model.safetensors").read_bytes()


def figures(run) -> list[dict]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in run.metrics]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pipeline.Run:
    return train(tmp_path_factory.mktemp("pairs"), steps=4)


def test_a_run_says_how_well_it_tells_right_from_wrong(run):
    last = run.metrics[-1]
    assert 0 <= last["eval/held_out/low"] <= last["eval/held_out/avg"] <= last["eval/held_out/high"] <= 1
    assert 0 <= last["eval/held_out/auc"] <= 1 and 0 <= last["eval/held_out/ece"] <= 1
    counts = [value for key, value in last.items() if re.fullmatch(r"eval/held_out/calibration/[\d._]+/count", key)]
    assert sum(counts) == last["eval/held_out/decisions"] == 16
    assert 0 <= last["scores/right"] <= 1 and last["policy/entropy"] is None and last["reward/mean"] is None


def test_a_stage_stopped_and_resumed_is_the_unbroken_one(run, tmp_path):
    train(tmp_path, steps=2, schedule_steps=4, eval={"sets": {}})
    again = train(tmp_path, steps=4, schedule_steps=4, eval={"sets": {}})
    straight = train(tmp_path, steps=4, schedule_steps=4, eval={"sets": {}}, name="straight")
    assert figures(again) == figures(straight) and weights(again) == weights(straight) == weights(run)


def test_an_adapter_learns_with_the_head_goes_on_and_is_merged_in_the_folder(tmp_path):
    pytest.importorskip("peft")
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    adapter = {"lora": {"rank": 4}, "eval": {"sets": {}}, "schedule_steps": 4}
    train(tmp_path, steps=2, **adapter)
    again = train(tmp_path, steps=4, **adapter)
    straight = train(tmp_path, steps=4, **adapter, name="straight")
    assert figures(again) == figures(straight) and weights(again) == weights(straight)
    held = load_file(straight.path / "model/adapter/adapter_model.safetensors")
    assert "base_model.model.score.weight" in held and any(".lora_B." in name for name in held)
    assert not any("score.lora" in name for name in held), "the head is trained whole"
    model = AutoModelForSequenceClassification.from_pretrained(straight.path / "model")
    assert (model.score.weight == held["base_model.model.score.weight"]).all()
    before = AutoModelForSequenceClassification.from_pretrained(embedded.path(), num_labels=1)
    moved = {name for name, weight in model.named_parameters() if name in dict(before.named_parameters())
             and weight.shape == (old := before.get_parameter(name)).shape and not (weight == old).all()}  # fmt: skip
    assert moved and all("norm" not in name and "embed" not in name for name in moved - {"score.weight"})


@pytest.mark.parametrize("task", ["addition_labels", "addition_steps"])
def test_labelled_completions_and_steps_are_learned_from(tmp_path, task):
    run = train(tmp_path, task)
    assert run.metrics[-1]["eval/held_out/decisions"] >= 16 and run.metrics[-1]["loss/value"] > 0


def test_the_folder_gives_the_same_scores_in_transformers_pipeline(run):
    import pyarrow.parquet as pq
    from transformers import pipeline as transformers_pipeline

    rows = pq.read_table(run.path / "rollouts/reward_model-1.parquet").to_pylist()
    score = transformers_pipeline("text-classification", model=str(run.model), function_to_apply="none", device="cpu")
    texts = [f"{row['prompt_text']} {row['text']}<eos>" for row in rows]
    ids = [row["prompt_ids"] + row["completion_ids"] for row in rows]
    assert [score.tokenizer(text)["input_ids"] for text in texts] == ids
    together = [each["score"] for each in score(texts, batch_size=len(texts))]  # padded
    assert together == pytest.approx([score(text)[0]["score"] for text in texts], abs=1e-5)
    held_out = pq.read_table(run.path / "eval/reward_model-4-held_out/completions.parquet").to_pylist()
    table = held_out[0]
    assert len(held_out) == 16 and float(table["extracted"]) == pytest.approx(lead_of(run, score, table), abs=1e-4)


def lead_of(run, score, row) -> float:
    """By how much the chosen side of a held-out pair leads, through the pipeline."""
    from r1lab_data import labelled, tasks

    problems = tasks.generate(
        "addition_pairs", size=16, seed=0, split="eval", source="held_out", settings=EASY["settings"]
    )
    problem = next(problem for problem in problems if problem.id == row["problem_id"])
    chosen, rejected = (
        score(f"{row['prompt_text']} {steps[0]}<eos>")[0]["score"] for steps in labelled.of(problem).completions
    )
    return chosen - rejected


def test_the_card_scores_a_completion(run, capsys, monkeypatch):
    card = (run.model / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card and "area under the ROC curve" in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    monkeypatch.chdir(run.model)
    exec(code, {})
    assert re.search(r"'label': 'reward', 'score': -?\d", capsys.readouterr().out)


@pytest.mark.slow
def test_the_report_shows_its_calibration(run, tmp_path):
    page = report([run.path], tmp_path).read_text()
    assert "Calibration" in page and (tmp_path / "calibration.png").is_file()


def test_a_dry_run_shows_the_first_pair(tmp_path):
    told = dry_run(plan(tmp_path))
    assert "its completion labelled 1:" in told and "its completion labelled 0:" in told
    assert "objective: bradley_terry" in told and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows_of_file", "told"),
    [
        ([PAIR | {"rejected": "2"}], "line 1: chosen and rejected are the same text"),
        ([PAIR, PAIR | {"prompt": ""}], "line 2: no prompt"),
        ([PAIR | {"margin": float("nan")}], "line 1: margin is NaN; a finite number is needed"),
        ([PAIR | {"chosen": "2" * 600}], "tokens with its longest completion, the context 512"),
        ([{"prompt": "p", "completion": "c", "label": 2}], "line 1: label 2 is neither 0 nor 1"),
        ([{"prompt": "p", "completion": "abc", "steps": ["a"], "labels": [1]}], "do not cover the completion"),
        ([{"prompt": "p", "answer": "c"}], "neither pairs (chosen, rejected)"),
    ],
)  # fmt: skip
def test_bad_rows_are_refused_before_anything_is_written(tmp_path, rows, rows_of_file, told):
    with pytest.raises(RecipeError) as error:
        train(tmp_path, data={"path": rows(*rows_of_file)}, eval={})
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_long_pairs_can_be_dropped(tmp_path, rows):
    path = rows(PAIR | {"chosen": "2" * 600}, *(PAIR | {"prompt": f"{n}+1"} for n in range(9)))
    run = train(tmp_path, data={"path": path, "on_long_prompt": "drop"}, eval={}, steps=1)
    assert "1 of 10 prompts are too long" in json.dumps(json.loads((run.path / "manifest.json").read_text())["notes"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"task": "addition"}}, "no labelled completions"),
        ({"data": [source("addition_pairs"), source("addition_labels")]}, "several kinds of labels in one stage"),
        ({"eval": {"sets": {"x": source("addition_labels", split="eval")}}}, "several kinds of labels in one stage"),
        ({"objective": {"preset": "dpo"}}, "objective"),
        ({"verifier": "math"}, "verifier: a reward_model stage has none"),
        ({"lora": {"rank": 4}, "parallel": "fsdp2"}, "parallel: fsdp2 with lora"),
        ({"max_new_tokens": 9}, "max_new_tokens: a reward_model stage has none"),
        ({"eval": {"n": 4}}, "eval.n: 4 in a reward_model stage"),
        ({"eval": {"sets": {"x": source("addition_pairs", split="eval")}, "keep_best": "eval/x/pass@1"}},
         "use one of eval/x/avg, eval/x/low, eval/x/high, eval/x/auc"),
    ],
)  # fmt: skip
def test_what_a_reward_model_has_not_is_refused(tmp_path, changes, told):
    with pytest.raises(RecipeError) as error:
        train(tmp_path, **changes)
    assert told in str(error.value) and not (tmp_path / "run").exists()


def test_demonstrations_of_an_earlier_stage_are_refused():
    stages = [{"kind": "reject", "data": {"task": "addition"}}, {"kind": "reward_model", "data": {"stage": "reject"}}]
    with pytest.raises(RecipeError, match="makes demonstrations, which are not labelled"):
        recipe_file.resolve({"stages": stages})


SFT = {"kind": "sft", "data": {"task": "addition", "size": 8}, "steps": 1}


def test_a_stage_after_it_starts_from_the_newest_policy():
    stages = [SFT, {"kind": "reward_model"}, {"kind": "rl", "data": {"task": "addition"}, "steps": 1}]
    made = recipe_file.resolve({"data": source("addition_pairs"), "steps": 2, "stages": stages}).stages
    assert [stage.from_ for stage in made] == [None, "sft", "sft"]


@pytest.mark.parametrize("kind", ["rl", "sft", "reject", "eval"])
def test_no_policy_starts_from_a_reward_model(kind, run, tmp_path):
    stage = {"kind": kind, **({} if kind == "eval" else {"data": {"task": "addition"}, "steps": 1})}
    sets = {"eval": {"sets": {"x": {"task": "addition", "split": "eval"}}}} if kind == "eval" else {}
    with pytest.raises(
        RecipeError, match="from: 'reward_model' makes a reward model, which scores completions and writes"
    ):
        recipe_file.resolve({"stages": [
            {"kind": "reward_model", "data": source("addition_pairs")}, {**stage, **sets, "from": "reward_model"},
        ]})  # fmt: skip
    for model in (run.path, run.model):
        alone = recipe_file.resolve({**stage, **sets, "model": str(model), "out": str(tmp_path / "x")})
        with pytest.raises(RecipeError, match=r"is a reward model \(LlamaForSequenceClassification\), which scores"):
            pipeline.train(alone, Progress(quiet=True))


def test_a_reward_model_goes_on_from_another(run, tmp_path):
    again = train(tmp_path, model=str(run.path), steps=1)
    assert again.metrics[0]["eval/held_out/avg"] == run.metrics[-1]["eval/held_out/avg"]


def test_a_run_with_a_policy_hands_that_on(tmp_path):
    stages = [{**SFT, "learning_rate": 1e-3}, {"kind": "reward_model", "data": source("addition_pairs"), "steps": 1}]
    base = {key: BASE[key] for key in ("name", "prompt", "prompts_per_step", "threads")}
    run = pipeline.train(
        recipe_file.resolve({**base, "out": str(tmp_path / "run"), "stages": stages}), Progress(quiet=True)
    )
    assert json.loads((run.model / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    made = run.path / "stages/reward_model/model/config.json"
    assert json.loads(made.read_text())["architectures"] == ["LlamaForSequenceClassification"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wrong_labels_cost_no_more_than_they_must(tmp_path):
    """A fifth of the pairs is exchanged, held-out ones too: nothing can be right on more than those that are not."""
    from r1lab_data import labelled, tasks

    told = {"digits": 2, "flip": 0.2, "untidy": 1.0}
    held_out = {"size": 500, "settings": told, "split": "eval"}
    run = train(
        tmp_path,
        data={"task": "addition_pairs", "size": 2000, "settings": told},
        eval={"at_start": False, "sets": {"held_out": {"task": "addition_pairs", **held_out}}},
        optimizer={"schedule": "cosine", "warmup_updates": 10},
        prompts_per_step=32,
        steps=None,
    )
    problems = tasks.generate("addition_pairs", seed=0, source="held_out", **held_out)
    kept = sum(not labelled.of(each).completions[0][0].startswith("Answer") for each in problems) / len(problems)
    assert 0.75 < kept < 0.85 and run.metrics[-1]["eval/held_out/avg"] >= kept - 0.02
    assert run.metrics[-1]["eval/held_out/ece"] <= 0.05
