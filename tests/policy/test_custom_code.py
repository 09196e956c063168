"""Code that a model brings along: refused in one line, run only where somebody vouched for it."""

import json
import shutil

import pytest

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab.policy import location, models

CODE = """import pathlib
pathlib.Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class EvilConfig(LlamaConfig):
    model_type = "evil"
class EvilModel(LlamaForCausalLM):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""
MAP = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A model whose architecture is its own, and the file that its code makes when it runs."""
    folder, marker = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(embedded.path(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": MAP}))
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    monkeypatch.setattr(location, "_VOUCHED", [])
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    return folder, marker


@pytest.mark.parametrize("load", [models.load_config, models.load_model, models.check])
def test_a_model_with_code_of_its_own_is_refused_and_the_file_named(evil, load):
    folder, marker = evil
    with pytest.raises(RecipeError) as caught:
        load(str(folder))
    told = str(caught.value)
    assert f"brings code of its own ({folder / 'evil.py'})" in told and "trust_remote_code: true" in told
    assert "\n" not in told and not marker.exists()


def test_so_is_a_tokenizer_with_code_of_its_own(evil):
    folder, marker = evil
    shutil.copy(embedded.path() / "config.json", folder / "config.json")
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    auto_map = {"AutoTokenizer": [None, "evil.EvilTokenizer"]}
    path.write_text(json.dumps({**config, "tokenizer_class": "EvilTokenizer", "auto_map": auto_map}))
    with pytest.raises(RecipeError, match=r"brings code of its own \(.*evil\.py\)"):
        models.load_tokenizer(str(folder))
    assert not marker.exists()


def test_who_vouches_for_it_has_it_run(evil):
    folder, marker = evil
    location.trust_remote_code()
    assert models.load_config(str(folder)).model_type == "evil" and marker.exists()


def test_a_model_of_a_known_architecture_needs_no_trust(evil):
    folder, marker = evil
    config = json.loads((embedded.path() / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": MAP}))
    assert models.load_config(str(folder)).model_type == config["model_type"]
    models.check(str(folder))
    assert not marker.exists()


@pytest.mark.parametrize(("config", "files"), [
    ({}, []),
    ({"auto_map": MAP}, ["evil.py"]),
    ({"auto_map": {"AutoModel": "org/name--deep.er.Model"}}, ["deep.er.py"]),
    ({"auto_map": {"AutoTokenizer": ["slow.A", None]}}, ["slow.py"]),
    ({"auto_map": []}, []),
    ([], []),
])  # fmt: skip
def test_the_files_are_named_as_the_configuration_names_them(tmp_path, config, files):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert location.code_of(str(tmp_path)) == files
    assert location.code_of("org/name") == []


def test_a_recipe_vouches_by_a_key_of_its_own():
    from r1lab.recipe import load

    recipe = {"data": {"task": "addition"}, "steps": 1}
    assert not load.resolve(recipe).stages[0].trust_remote_code
    assert load.resolve({**recipe, "trust_remote_code": True}).stages[0].trust_remote_code
