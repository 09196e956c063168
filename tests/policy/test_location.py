"""A model is named by `embedded`, a folder of a model or of a run, or a hub id."""

import json

import pytest

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab.policy import models
from r1lab.policy.location import PUBLISHED, locate, model_hint
from r1lab.stages.model_shapes import SHAPES
from r1lab_data.problem import DataError


def model(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return str(folder)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"recipe": {"stages": [{"name": "sft"}, {"name": "rl"}]}}))
    return folder


def test_a_run_is_its_last_model(run, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match="is a run that has no model yet"):
        locate(str(run))
    first = model(run / "stages" / "sft" / "model")
    assert locate(str(run)) == first
    second = model(run / "stages" / "rl" / "model")
    assert locate(str(run)) == second
    whole = model(run / "model")
    monkeypatch.chdir(run)
    assert locate("run", tmp_path) == whole


def test_what_is_neither_a_model_nor_a_run_is_refused(run):
    with pytest.raises(RecipeError, match=r"it has no config\.json, and no run's, for it has no manifest\.json"):
        locate(str(run.parent))
    (run / "manifest.json").write_text("[]")
    with pytest.raises(RecipeError, match="is no Hugging Face folder"):
        locate(str(run))
    assert locate("embedded") == str(embedded.path()) and locate("org/name") == "org/name"


def test_where_the_hub_is_gone_it_is_asked_once_and_the_cache_is_read(monkeypatch):
    asked, given = [], []

    def gone(path):
        asked.append(path)
        raise DataError("no hub")

    def load(location, **options):
        given.append(options)
        raise OSError("not in the cache")

    monkeypatch.setattr(models, "probe", gone)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    models._hub_is_gone.cache_clear()
    for _ in range(2):
        with pytest.raises(RecipeError, match="'org/name' is no folder here and not in the cache, and the hub cannot"):
            models._load(load, "org/name", "tokenizer")
    assert len(asked) == 1 and given == [{"local_files_only": True}] * 2
    models._hub_is_gone.cache_clear()


@pytest.mark.parametrize(("name", "close"), [
    ("embeded", "embedded"), ("Embedded", "embedded"), ("HuggingFaceTB/SmolLM2-135", "HuggingFaceTB/SmolLM2-135M"),
    ("Qwen/Qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B"), ("qwen/qwen2.5-math-7b", "Qwen/Qwen2.5-Math-7B"),
    ("me/my-modle", "me/my-model"), ("modles/small", "models/small"), ("models/smal", "models/small"),
    ("org/entirely-other", None), ("zebra", None),
])  # fmt: skip
def test_a_model_that_is_nowhere_is_told_of_with_the_nearest_that_is_known(tmp_path, monkeypatch, name, close):
    (tmp_path / "hub" / "models--me--my-model").mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    model(tmp_path / "models" / "small")
    monkeypatch.chdir(tmp_path)
    assert model_hint(name) == (f"; did you mean {close!r}?" if close else "")
    if "/" not in name:
        with pytest.raises(RecipeError) as error:
            locate(name)
        assert str(error.value).endswith(f"a hub id such as org/name{model_hint(name)}")


def test_a_hub_id_that_cannot_be_had_is_told_of_with_the_nearest(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(models, "_hub_is_gone", lambda: True)
    with pytest.raises(RecipeError, match=r"name a folder; did you mean 'HuggingFaceTB/SmolLM2-135M'\?$"):
        models.load_config("HuggingFaceTB/SmolLM2-135")


def test_every_known_shape_is_known_by_name():
    assert set(SHAPES) <= set(PUBLISHED)
