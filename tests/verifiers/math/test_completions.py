"""Whole completions by kind (completions.jsonl): what they say is right beside a gold, or must not be."""

import json
from pathlib import Path

import pytest

from r1lab_verifiers import Item, resolve

MATH = resolve("math").build()
LINES = (Path(__file__).parent / "completions.jsonl").read_text(encoding="utf-8").splitlines()
ROWS = [json.loads(line) for line in LINES]


@pytest.mark.parametrize("kind", dict.fromkeys(row["kind"] for row in ROWS))
def test_completions_of_a_kind_are_judged_rightly(kind):
    judged = [(row, MATH.verify(Item(row["completion"], row["answer"]))) for row in ROWS if row["kind"] == kind]
    assert [(row, str(verdict)) for row, verdict in judged if (verdict.score == 1) != row["expected"]] == []
