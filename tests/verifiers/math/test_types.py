"""Every answer type with pairs that must agree and pairs that must not (pairs.txt), boxed and bare.

pairs.txt: `# type` before its rows; `+ gold ## answer` must agree, `- gold ## answer` must not; `~ gold ## answer` is
equal but not finished: it agrees where `unevaluated` is set, and not by default.
"""

from pathlib import Path

import pytest

from r1lab_verifiers import Item, resolve

MATH = resolve("math").build()
LENIENT = resolve({"use": "math", "unevaluated": True}).build()


def sections():
    found = {}
    for line in (Path(__file__).parent / "pairs.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            rows = found.setdefault(line[2:], [])
        elif line:
            rows.append((line[0], *line[2:].split(" ## ")))
    return found


TYPES = sections()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("frame", [r"\boxed{%s}", "%s", "so it is clear.\n\nThe answer is $%s$."])
def test_answers_of_a_type_agree_where_they_are_the_same_and_nowhere_else(kind, frame):
    wrong = []
    for expected, gold, answer in TYPES[kind]:
        if frame.endswith("$.") and ("$" in answer or expected == "-" or "boxed" in answer):
            continue
        verdict = MATH.verify(Item(frame.replace("%s", answer), gold))
        if (verdict.score == 1) != (expected == "+"):
            wrong.append((gold, answer, verdict.status))
        if expected == "~" and LENIENT.verify(Item(frame.replace("%s", answer), gold)).score != 1:
            wrong.append((gold, answer, "unevaluated"))
    assert wrong == []


@pytest.mark.parametrize("kind", TYPES)
def test_every_gold_proves_itself(kind):
    golds = {gold for _, gold, _ in TYPES[kind]}
    assert [gold for gold in golds if MATH.verify(Item(MATH.witness(gold), gold)).score != 1] == []


def test_there_are_ten_rows_of_every_type_and_both_kinds():
    for kind, rows in TYPES.items():
        assert len(rows) >= 10, kind
        assert {expected for expected, _, _ in rows} >= {"+", "-"}, kind
