"""Evaluation sets by name: each one's knobs are a source, and the local files of each are read and can be judged."""

import os
from pathlib import Path

import pytest

from r1lab.errors import RecipeError
from r1lab.evaluation.named_sets import SETS, source_of
from r1lab.recipe.data import SourceConfig
from r1lab.rollout.problems import load_problems
from r1lab_verifiers import resolve

HERE = {
    "math500": "math500", "gsm8k": "gsm8k", "aime24": "aime24", "amc23": "amc23", "minerva": "minerva_math",
    "olympiadbench": "olympiadbench", "svamp": "svamp", "asdiv": "asdiv", "mawps": "mawps/singleop.jsonl",
    "mawps_addsub": "mawps/addsub.jsonl", "mawps_singleeq": "mawps/singleeq.jsonl",
    "mawps_multiarith": "mawps/multiarith.jsonl", "humaneval": "humaneval/HumanEval.jsonl", "mbpp": "mbpp/mbpp.jsonl",
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_every_sets_local_copy_is_read_and_its_golds_can_be_judged(name):
    if "R1LAB_SHARED" not in os.environ:
        pytest.skip("no local copies: R1LAB_SHARED is not set")
    found, source = source_of(name, path=HERE[name], limit=20)
    problems = load_problems(source, found, source.verifier, Path(os.environ["R1LAB_SHARED"]) / "data")
    check = resolve(source.verifier).build().check
    assert len(problems) == 20 and [check(each.answer) for each in problems] == [None] * 20


def test_every_set_names_a_verifier_and_only_knobs_of_a_source():
    for name in SETS:
        found, source = source_of(name)
        assert found == name and isinstance(source, SourceConfig) and resolve(source.verifier)


def test_tasks_files_and_hub_ids_are_sets_too(tmp_path):
    name, source = source_of("multiplication", settings={"digits": 6}, limit=3)
    assert (name, source.split, source.verifier) == ("multiplication", "eval", "numeric")
    problems = load_problems(source, name, "numeric", tmp_path)
    assert [len(each.prompt) for each in problems] == [13] * 3
    assert source_of("gym:products")[1].verifier == "reasoning_gym"
    assert source_of("some/where.jsonl", verifier="exact")[0] == "where"
    assert source_of("org/name", verifier="math")[1].path == "org/name"


@pytest.mark.parametrize("on, knobs, says", [
    ("math50", {}, "did you mean 'math500'"),
    ("held_ot", {"set_names": ["held_out", "other"]}, "is no set (held_out, other, gsm8k,"),
    ("held_ot", {"set_names": ["held_out"]}, "did you mean 'held_out'"),
    ("GSM8K", {"set_names": ["held_out"]}, "did you mean 'gsm8k'"),
    ("additoin", {}, "did you mean 'addition'"),
    ("org/name", {}, "names no verifier"),
    ("gsm8k", {"limit": 0}, "limit"),
    ("addition", {"path": "x.jsonl"}, "a source needs one of"),
])  # fmt: skip
def test_what_is_no_set_is_refused_in_one_line(on, knobs, says):
    with pytest.raises(RecipeError) as error:
        source_of(on, **knobs)
    assert says in str(error.value) and "\n" not in str(error.value)
