"""Probing: the same evaluation, sampled as training samples, and a forecast that training bears out."""

import json
import shutil

import pytest

import r1lab
from r1lab import embedded, pipeline
from r1lab.errors import RecipeError
from r1lab.evaluation import probe as probing
from r1lab.evaluation import runner
from r1lab.recipe import WorkersConfig, load
from r1lab.run.progress import Progress

PROMPT = "Q: {prompt}\nA:"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def probe(models="embedded", on=None, **asked):
    return r1lab.probe(models, on, **{"workers": WorkersConfig(count=1), "threads": 1, **asked})


def recipe(**changes):
    own = {
        "data": {"task": "addition", "size": 64, "settings": {"digits": 3}}, "prompt": {"format": PROMPT},
        "max_new_tokens": 64, "prompts_per_step": 16, "group_size": 8, "steps": 3, "threads": 1,
        "workers": {"count": 1}, "learning_rate": 1e-9, "optimizer": {"warmup_updates": 0},
    }  # fmt: skip
    return {**own, **changes}


def test_problems_of_a_pass_rate_are_written_as_a_dataset(folder):
    asked = {"format": PROMPT, "max_new_tokens": 48, "n": 4, "group_size": 4, "source": {"limit": 12}}
    found = probe("embedded", "addition", **asked, out="p", keep=(0.0, 0.5))
    (model,) = found.models
    rows = [json.loads(line) for line in (model.path / "problems.jsonl").read_text().splitlines()]
    assert 0 < len(rows) <= 12 and all(0 <= row["pass_rate"] <= 0.5 and row["judged"] == 4 for row in rows)
    data = {"path": str(model.path / "problems.jsonl"), "columns": {"id": "id"}}
    assert load.resolve(recipe(data=data, verifier="numeric")).stages[0].data["data"].path == data["path"]
    with pytest.raises(RecipeError, match=r"--keep: 0.8 0.2 are no least and greatest share"):
        probe("embedded", "addition", **asked, keep=(0.8, 0.2))


def test_several_models_are_probed_and_the_answer_is_said_for_each(folder):
    asked = {"format": PROMPT, "max_new_tokens": 48, "n": 4, "group_size": 4, "source": {"limit": 12}}
    found = probe(["embedded", "embedded"], "addition", **asked, out="p")
    first, second = found.models
    assert first.forecast == second.forecast and first.path != second.path
    assert first.forecast.has_signal and set(first.mixed) == {2, 4}
    text, told = found.text(), json.loads((folder / "p" / "probe.json").read_text())
    assert "Yes: RL from here has signal" in text and "most signal" in text
    assert told[0]["zero_variance"]["4"] == pytest.approx(1 - first.mixed[4].value)
    assert 0 < told[0]["figures"]["readable"] <= 1 and told[0]["figures"]["format"] is None
    assert probe(["embedded", "embedded"], "addition", **asked, out="p").models[0] == first, "a resume changes nothing"


def test_six_digit_multiplication_is_beyond_the_embedded_model(folder):
    asked = {"format": PROMPT, "max_new_tokens": 48, "n": 8, "source": {"limit": 12, "settings": {"digits": 6}}}
    found = probe(on="multiplication", **asked).models[0].forecast
    assert not found.has_signal and found.sentence.startswith("No: RL from here has no signal")
    assert any("never solved" in remedy for remedy in found.remedies)


def test_a_recipe_alone_is_probed_on_its_own_data_as_it_samples(folder):
    found = probe(recipe=recipe(temperature=0.5, group_size=4), n=4, source={"limit": 4}, out="p").models[0]
    own = json.loads((found.path / "manifest.json").read_text())["identity"]
    assert (own["set"]["name"], own["set"]["problems"]) == ("addition", 4)
    assert (own["sampling"]["temperature"], own["sampling"]["max_new_tokens"], own["n"]) == (0.5, 64, 4)
    assert found.forecast.size == 4


def test_a_large_set_is_sampled_and_the_cost_is_said_before(folder, monkeypatch):
    monkeypatch.setattr(probing, "DEFAULT_PROBLEMS", 5)
    said = []
    asked = {"recipe": recipe(temperature=0.5), "n": 2, "group_size": 2, "max_new_tokens": 4, "say": said.append}
    found = probe(["embedded", "embedded"], **asked, out="p")
    assert said == [
        "addition: 5 problems (of 64; --limit takes as many as it says) x 2 completions of at most 4 tokens: "
        "10 completions for each of 2 models",
        "probing embedded (1)",
        "probing embedded (2)",
    ]
    ids = [{row["problem_id"] for row in runner.read_rows(each.path / runner.COMPLETIONS)} for each in found.models]
    assert ids[0] == ids[1] and len(ids[0]) == 5 and ids[0] != {f"addition/{at}" for at in range(5)}
    whole = probe(**{**asked, "source": {"limit": 7}}, out="q").models[0]
    assert whole.figures["problems"] == 7 and said[3].startswith("addition: 7 problems x 2 completions")


def test_models_of_one_folder_name_are_told_apart(folder):
    for name in ("A", "B"):
        shutil.copytree(embedded.path(), folder / name / "model")
    asked = {"format": PROMPT, "max_new_tokens": 4, "n": 2, "group_size": 2, "source": {"limit": 2}}
    found = probe(["A/model", "B/model"], "addition", **asked, out="p")
    assert [each.model for each in found.models] == ["A/model", "B/model"]
    assert "A/model" in found.text() and "B/model" in found.text()
    assert sorted(path.name for path in (folder / "p").iterdir()) == ["0-model", "1-model", "probe.json"]


@pytest.mark.slow
def test_the_forecast_is_what_training_shows(folder):
    found = probe(recipe=recipe(), n=16, source={"limit": 32}).models[0]
    run = pipeline.train(load.resolve({**recipe(), "out": "run"}), Progress(quiet=True))
    rows = [row["group/zero_variance"] for row in run.metrics if "group/zero_variance" in row]
    assert len(rows) == 3
    assert abs((1 - sum(rows) / 3) - found.mixed[8].value) <= 0.1


@pytest.mark.parametrize("asked, says", [
    ({"models": []}, "MODEL: missing"),
    ({"on": "addition", "n": 4, "group_size": 8}, "give --n 8"),
    ({"on": "addition", "n": 1}, "a group of one has no differences"),
    ({"recipe": {"kind": "sft", "data": {"task": "addition", "size": 8}}}, "has no stage of kind rl"),
    ({"on": None}, "--on: missing"),
])  # fmt: skip
def test_a_mistake_is_refused_and_nothing_is_written(folder, asked, says):
    with pytest.raises(RecipeError) as error:
        probe(**{"format": PROMPT, "max_new_tokens": 48, **asked}, out="p")
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (folder / "p").exists()
