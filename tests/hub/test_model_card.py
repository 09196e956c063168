"""The model card says what the run was, to the hub and to people, and nothing of this computer."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard

from r1lab import embedded, pipeline
from r1lab.hub import model_card, usage_example
from r1lab.recipe import load
from r1lab.rollout.renderer import Renderer
from r1lab.run.folder import RunFolder
from r1lab.run.progress import Progress
from r1lab.stages.prepare import prepare
from r1lab_data.loaders import digest

BASE = {
    "name": "carded",
    "data": {"task": "addition", "size": 32, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 24,
    "prompts_per_step": 2,
    "group_size": 2,
    "threads": 1,
    "workers": {"count": 1},
    "eval": {"sets": {"test": {"task": "addition", "split": "eval", "size": 4}}},
    "stages": [{"kind": "sft", "steps": 1}, {"kind": "rl", "steps": 1}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pipeline.Run:
    """SFT, then RL, of a model folder and data files that lie in a place of their own."""
    place = tmp_path_factory.mktemp("secret-place")
    shutil.copytree(embedded.path(), place / "mybase")
    lines = [{"prompt": f"{n}+{n}", "answer": str(2 * n), "solution": f"{2 * n}"} for n in range(10, 26)]
    (place / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mine = {"path": str(place / "mine.jsonl"), "columns": {"solution": "solution"}, "verifier": "numeric"}
    raw = {**BASE, "model": str(place / "mybase"), "data": {"mine": mine}, "out": str(place / "run")}
    raw["eval"] = {**BASE["eval"], "allow_masked_overlap": ["test"]}
    return pipeline.train(load.resolve(raw), Progress(quiet=True))


def text_of(run: pipeline.Run) -> str:
    return (run.model / "README.md").read_text()


def made(tmp_path, rows=(), **changes) -> str:
    """The card of a plan that was not run, with these rows of metrics."""
    plan = load.resolve({**BASE, "out": str(tmp_path / "run"), **changes})
    manifest = {"hash": "abc", "packages": {"torch": "2"}, "verifiers": {}}
    manifest["recipe"] = {"stages": [stage.model_dump(mode="json", by_alias=True) for stage in plan.stages]}
    return model_card.text(prepare(plan), plan, manifest, list(rows))


def row(stage, step, value, keys="test"):
    return {"stage": stage, "step": step} | {
        f"eval/{keys}/{key}": number
        for key, number in zip(("avg", "low", "high", "n", "problems"), (value, value - 0.1, value + 0.1, 1, 4))
    }


def test_the_hubs_own_reader_takes_the_front_matter(run):
    data = ModelCard(text_of(run)).data
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("transformers", "text-generation", "carded")
    assert {"r1lab", "sft", "reinforcement-learning"} <= set(data.tags)
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_type) == ("test", "accuracy")
    assert result.metric_value == pytest.approx(run.metrics[-1]["eval/test/avg"], abs=1e-6)


def test_no_path_of_this_computer_is_in_any_file_of_the_model(run):
    found = [path.name for path in run.model.rglob("*") if path.is_file() and b"secret-place" in path.read_bytes()]
    assert found == []
    assert "mine.jsonl" in text_of(run) and "`mybase`" in text_of(run)


def test_it_says_what_the_run_was(run):
    text, manifest = text_of(run), json.loads((run.path / "manifest.json").read_text())
    last = run.metrics[-1]
    assert manifest["hash"] in text and f"torch {manifest['packages']['torch']}" in text
    assert all(f"`{content}`" in text for content in manifest["data"].values())
    assert f"`{manifest['verifiers']['numeric']['source']}`" in text
    assert f"Tokens budget: {last['tokens/budget']:,}" in text
    assert f"| {last['eval/test/low']:.3f} to {last['eval/test/high']:.3f} |" in text
    flops = sum(value for key, value in last.items() if key.startswith("flops/"))
    assert f"FLOPs: {flops:.3g}, rollout {last['flops/rollout']:.3g}" in text
    assert "| test | before (sft, step 0) |" in text and "| test | after (rl, step 1) |" in text


def test_a_stage_on_the_way_has_a_card_of_its_own_that_knows_nothing_of_later_ones(run):
    text, trained = (run.path / "stages" / "sft" / "model" / "README.md").read_text(), ModelCard(text_of(run)).data.tags
    spent = [row["tokens/budget"] for row in run.metrics if row["stage"] == "sft"][-1]
    assert "stage `sft`" in text and "after (sft, step 1)" in text and f"Tokens budget: {spent:,}" in text
    assert "(rl, " not in text and "kind: rl" not in text
    assert "reinforcement-learning" in trained and "reinforcement-learning" not in ModelCard(text).data.tags


def test_the_same_run_has_the_same_card_byte_for_byte(run, tmp_path):
    manifest = json.loads((run.path / "manifest.json").read_text())
    plan = load.resolve({**yaml.safe_load((run.path / "recipe.yaml").read_text()), "out": str(run.path)})
    model_card.write(tmp_path, prepare(plan), plan, RunFolder(run.path, manifest))
    assert (tmp_path / "README.md").read_bytes() == (run.model / "README.md").read_bytes()


def test_the_code_of_the_card_runs_as_it_stands(run, forked_in, tmp_path):
    code = re.search(r"```python\n(.*?)```", text_of(run), re.DOTALL)[1]
    folder = shutil.copytree(run.model, tmp_path / "model")
    process = forked_in(folder, code)
    process.join(120)
    assert process.exitcode == 0 and (folder / "stdout").read_text().strip(), (folder / "stderr").read_text()


PROMPTS = {
    "plain": {"format": "Q: {prompt}\nA: ```", "examples": [{"prompt": "1+1", "solution": "2"}]},
    "system": {"system_prompt": "Say 'it' \"well\"."},
    "r1-zero": {"template": "r1-zero", "prefill_think": True},
    "chat": {"template": "chat", "system_prompt": "Be brief.", "prefill_think": True},
}


@pytest.mark.parametrize("question", ["12+34", "What is 12 + 30?"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_the_card_asks_with_the_very_tokens_of_training(kind, question):
    stages = [{"kind": "rl", "steps": 1, "prompt": PROMPTS[kind]}]
    (ready,) = prepare(load.resolve({**BASE, "eval": {}, "prompt": {}, "stages": stages}))
    block = usage_example.example(ready.stage, ready.sources, ready.renderer)
    fence = block.partition("python")[0]
    lines = block.removeprefix(f"{fence}python\n").removesuffix(f"{fence}\n").splitlines()
    said = next(number for number, line in enumerate(lines) if line.startswith("said = "))
    names: dict = {"tokenizer": ready.tokenizer}
    asked = next(number for number, line in enumerate(lines) if line.startswith("question = "))
    exec("\n".join([f"question = {question!r}", *lines[asked + 1 : said]]), names)
    problem = replace(ready.sources["addition"][0], prompt=question)
    assert isinstance(ready.renderer, Renderer)
    assert tuple(names["inputs"]["input_ids"][0].tolist()) == ready.renderer.render(problem)


def test_the_kept_best_step_is_the_one_whose_score_is_shown(tmp_path):
    stages = [{"kind": "rl", "steps": 3, "eval": {**BASE["eval"], "keep_best": "eval/test/avg"}}]
    text = made(tmp_path, [row("rl", 0, 0.2), row("rl", 2, 0.9), row("rl", 3, 0.4)], stages=stages)
    assert "after (rl, step 2) | 0.900" in text and "before (rl, step 0) | 0.200" in text and "0.400" not in text


def test_scores_of_other_problems_or_another_sampling_are_not_set_beside_each_other(tmp_path):
    other = {"kind": "sft", "steps": 1, "eval": {**BASE["eval"], "temperature": 0.5}}
    text = made(tmp_path, [row("sft", 0, 0.1), row("rl", 0, 0.3), row("rl", 1, 0.6)], stages=[other, {"steps": 1}])
    assert "before (rl, step 0) | 0.300" in text and "0.100" not in text


def test_a_run_without_evaluation_says_so_and_claims_no_result(tmp_path):
    text = made(tmp_path, eval={})
    assert "Not evaluated" in text and "model-index" not in text


def test_hub_ids_and_the_origin_of_a_local_base_are_metadata(tmp_path):
    plan = load.resolve({**BASE, "data": {"task": "addition"}})
    (hub,) = plan.stages[0].data.values()
    assert not model_card.is_on_hub(hub, plan)
    assert model_card.is_on_hub(hub.model_copy(update={"task": None, "path": "openai/gsm8k"}), plan)
    assert not model_card.is_on_hub(hub.model_copy(update={"task": None, "path": "https://x.org/a.jsonl"}), plan)
    shutil.copytree(embedded.path(), tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\nbase_model: org/name\n---\n# Base\n")
    front = ModelCard(made(tmp_path, model=str(tmp_path / "base"))).data
    assert (front.base_model, front.license) == ("org/name", "mit")


def test_a_url_loses_its_user_and_its_query():
    assert model_card.clean("https://me:word@host.org/a.jsonl?token=1") == "https://host.org/a.jsonl"
    assert model_card.clean({"a": ["/home/me/x.py", "~/y", "../z/w", "3/4"]}) == {"a": ["x.py", "y", "w", "3/4"]}


def test_the_content_hash_of_the_evaluation_set_is_on_the_card(tmp_path):
    (*_, last) = prepare(load.resolve(BASE))
    assert f"`{digest(last.sets[0].problems)}`" in made(tmp_path)
