"""Attacks on verifiers: none of the built-ins' own, on golds of theirs, and a user's lenient one is found out."""

import json
import re
from collections import Counter

import pytest

from r1lab.audit.attack import _sections, attack, attacks_on, fields, own_problems
from r1lab.audit.families import FAMILIES
from r1lab.errors import RecipeError
from r1lab_data import Problem
from r1lab_verifiers import Item, reference_checks, resolve

LENIENT = """
def contains(completion: str, answer: str) -> bool:
    return answer in completion
"""


def scored(verifier):
    """Attacks that score, judged in this process."""
    resolved = resolve(verifier)
    framed, reference = reference_checks.framed(resolved).build(), reference_checks.reference(resolved).build()
    usable = [each for each in own_problems() if reference.verify(Item("", each.answer)).score == 1.0]
    assert usable
    return [
        (family, completion)
        for problem in usable
        for family, completion in attacks_on(problem)
        if framed.verify(Item(completion, problem.answer, problem.prompt)).score
    ]


@pytest.mark.parametrize("verifier", [
    "choice", "numeric", "exact", "math", {"use": "math", "extract": "stated"},
    {"use": "numeric", "extract": "boxed"}, {"use": "numeric", "after": "Answer:"},
    {"use": "numeric", "extract": "whole"}, {"use": "exact", "after": "Answer:"},
])  # fmt: skip
def test_no_attack_on_a_built_in_scores(verifier):
    assert scored(verifier) == []


def test_every_family_is_tried_and_every_field_is_known():
    tried = Counter(family for problem in own_problems() for family, _ in attacks_on(problem))
    assert set(tried) == set(FAMILIES)
    known = set(fields(own_problems()[0]))
    # "{gold}"; not "{0}"
    named = {name for rows in FAMILIES.values() for row in rows for name in re.findall(r"\{([a-z_]+)\}", row)}
    assert named - known == {"answer"}  # a literal one, of the talk to the judge


def test_fields_are_made_of_the_gold_and_the_prompt():
    prompt = "Which?\n(A) iron\n(B) lead"
    found = fields(Problem("p", prompt, "B"))
    assert (found["wrong"], found["option"], found["other_unit"]) == ("A", "lead", None)
    assert found["look_alike"] == "\u0412" and found["every"] == "A, B, C, D, E"
    assert fields(Problem("p", "", r"\$5"))["other_unit"] == "5 cents"
    assert fields(Problem("p", "Find $1+1$.", "2"))["formula"] == "1+1"
    assert fields(Problem("p", "Find $2$.", "2"))["formula"] is None
    assert set(fields(Problem("p", "x", {"target": 3})).values()) == {"x", None}


def test_what_is_not_the_gold_itself_is_tried_without_a_text_too():
    problem = Problem("p", "Use 3 and 4 to make 7.", {"numbers": [3, 4], "target": 7})
    families = {family for family, _ in attacks_on(problem)}
    assert families == {"empty", "echo of the prompt", "restated problem", "talk to the judge", "no value"}


def test_a_lenient_verifier_is_found_out(tmp_path, monkeypatch, capsys):
    from r1lab.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenient_checks.py").write_text(LENIENT)
    (tmp_path / "golds.jsonl").write_text(json.dumps({"prompt": "2+40?", "answer": "42"}) + "\n")
    arguments = ["audit", "--verifier", "lenient_checks:contains", "--attack", "--dataset", "golds.jsonl"]
    monkeypatch.setattr("sys.argv", ["r1lab", *arguments, "--json", "found.json"])
    with pytest.raises(SystemExit) as ended:
        main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert ended.value.code == 1 and "Attacks that scored" in capsys.readouterr().out
    assert found["attacks"]["denied"]["count"] < found["attacks"]["denied"]["n"]
    assert found["attacks"]["empty"]["count"] == found["attacks"]["empty"]["n"]
    assert {"denied", "taken back", "several answers"} <= {row["family"] for row in found["scored"]}


def test_equal_attacks_are_one_row_that_names_the_first_problem_and_counts_them(tmp_path, monkeypatch, command):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "all_checks.py").write_text("def all_but_spaces(completion, answer): return bool(completion.strip())\n")
    lines = [json.dumps({"prompt": f"{n}+40?", "answer": str(n + 40)}) for n in (2, 3, 4)]
    (tmp_path / "golds.jsonl").write_text("\n".join(lines) + "\n")
    options = ("--verifier", "all_checks:all_but_spaces", "--attack", "--dataset", "golds.jsonl", "--workers", "1")
    code, out, _ = command("audit", *options, "--json", "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    rows = _sections(found)[1].rows
    assert code == 1 and b"(<<...>>: put as the verifier puts an answer)" in out
    assert len({(row[0], row[1]) for row in rows}) == len(rows) < len(found["scored"])
    (boast,) = [row for row in rows if row[1] == "{'score': 1.0}"]
    (gold,) = [row for row in rows if row[1] == "It is not 43."]
    assert boast[:4] == ["talk to the judge", "{'score': 1.0}", 3, "audit/0"] and gold[2:5] == [1, "audit/1", "43"]
    assert sum(row[2] for row in rows) == len(found["scored"])


@pytest.mark.parametrize(("verifier", "told"), [
    ("format", "'format' compares with no answer"), ("code", "'code' runs programs"),
    ("countdown", "countdown accepts none of 10 golds; give a --dataset"),
])  # fmt: skip
def test_what_cannot_be_attacked_is_said(verifier, told):
    with pytest.raises(RecipeError, match=told):
        attack(None, verifier)
