"""A model is named by `embedded`, a folder of a model or of a run, or a hub id."""

import json

import pytest

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab.policy import models
from r1lab.policy.location import locate
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
