"""The name that was probably meant: among names, beside a place, in a module. Nothing where nothing is near."""

import sys

import pytest

from r1lab_data.names import (
    PUBLISHED_SETS,
    did_you_mean,
    file_hint,
    import_hint,
    nearest,
    nearest_first,
    published_hint,
)


@pytest.mark.parametrize(("name", "names", "close"), [
    ("mth", ["math", "numeric", "exact"], "math"), ("GRPO", ["grpo", "dapo"], "grpo"),
    ("DrGRPO", ["grpo", "dr_grpo"], "dr_grpo"), ("additon", ["addition", "multiplication"], "addition"),
    ("HuggingFaceTB/SmolLM2-135", ["HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-1.7B"],
     "HuggingFaceTB/SmolLM2-135M"),
    ("Question", ["question", "answer"], "question"), ("colour", ["weight", "name"], None), ("", ["a"], None),
    ("x", [], None),
])  # fmt: skip
def test_the_nearest_of_names(name, names, close):
    assert nearest(name, names) == close
    assert did_you_mean(name, names) == (f"; did you mean {close!r}?" if close else "")
    assert nearest_first(name, names)[:1] == ([close] if close else names[:1])
    assert sorted(nearest_first(name, names)) == sorted(names)


@pytest.mark.parametrize(("path", "name"), [
    *((name, name) for name in PUBLISHED_SETS), ("GSM8K", "gsm8k"), ("gsm-8k", "gsm8k"), ("gsm9k", "gsm8k"),
    ("open-ai/gsm8k", "gsm8k"), ("MATH-500", "math500"), ("math_500", "math500"), ("aime_2024", "aime24"),
    ("HumanEval", "humaneval"), ("openai_humaneval", "humaneval"), ("MBPP", "mbpp"), ("SVAMP", "svamp"),
    ("openai/gsm8k", None), ("squad", None), ("my_data", None), ("org/name", None), ("", None), ("math", None),
    ("Qwen/Qwen2.5-0.5B", None), ("numina", None), ("/", None),
])  # fmt: skip
def test_a_set_by_its_short_name_is_said_where_it_is_published(path, name):
    hint = published_hint(path)
    assert (f"did you mean {PUBLISHED_SETS[name]!r}? (r1lab eval --on {name} knows" in hint) if name else hint == ""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train.jsonl", "test.jsonl", "notes.md", ".trian.jsonl"):
        (tmp_path / "data" / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(("path", "close"), [
    ("data/trian.jsonl", "data/train.jsonl"), ("data/train.json", "data/train.jsonl"),
    ("dta/train.jsonl", "data/train.jsonl"), ("Data/Train.jsonl", "data/train.jsonl"), ("daat", "data"),
    ("dta/nothing.jsonl", "data"), ("data/train", "data/train.jsonl"), ("data/zebra.jsonl", None),
    ("zebra.jsonl", None), ("/nowhere/at/all.jsonl", None), ("data/train.jsonl", None),
])  # fmt: skip
def test_the_nearest_file_stands_beside_the_place_that_was_named(folder, path, close):
    assert file_hint(path, [folder]) == (f"; did you mean {close!r}?" if close else "")


def test_a_file_elsewhere_is_named_by_its_whole_path(folder):
    assert file_hint(f"{folder}/data/trian.jsonl", [folder]) == f"; did you mean '{folder}/data/train.jsonl'?"


def test_what_a_module_holds_is_looked_at_without_importing_anything(tmp_path, monkeypatch):
    (tmp_path / "my_checks.py").write_text("from os.path import join\ndef total(completion, answer): return True\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert import_hint("my_cheks:total") == "; did you mean 'my_checks'?"
    assert import_hint("my_checks:totl") == "" and "my_checks" not in sys.modules
    __import__("my_checks")
    assert import_hint("my_checks:totl") == "; did you mean 'total'?"
    assert import_hint("my_checks:total") == "" and import_hint("my_checks:colour") == ""
    del sys.modules["my_checks"]
