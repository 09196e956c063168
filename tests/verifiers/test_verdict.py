import math
import pickle

import pytest

from r1lab_verifiers.verdict import STATUSES, UNSCORED, Item, Verdict, tidy


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.1, math.inf, None, "1"])
def test_a_score_lies_in_0_1(score):
    with pytest.raises(ValueError, match="outside"):
        Verdict(score, "wrong")


def test_error_and_only_error_has_no_score():
    assert Verdict(None, "error").score is None
    with pytest.raises(ValueError, match="score None"):
        Verdict(0.0, "error")
    with pytest.raises(ValueError, match="unknown; use one of correct"):
        Verdict(0.0, "bad")


def test_items_and_verdicts_travel():
    for thing in (Item("a", {"x": 1}), *(Verdict(None if s in UNSCORED else 0.0, s) for s in STATUSES)):
        assert pickle.loads(pickle.dumps(thing)) == thing


def test_tidy_shortens_and_makes_plain():
    verdict = tidy(Verdict(1, "correct", 7, "r\ud800" * 400, steps=[(1, 1)]))
    assert (verdict.score, verdict.extracted, verdict.steps) == (1.0, "7", ((1, 1.0),))
    assert verdict.reason == "r?" * 250


def test_what_a_terminal_would_obey_is_not_kept():
    shown = tidy(Verdict(0.0, "wrong", "x = 1\n\tπ", "a\x1b[2J\x00\r\u202eb é 中")).reason
    assert shown == "a?[2J? ?b é 中"
    assert tidy(Verdict(0.0, "wrong", "x = 1\n\tπ")).extracted == "x = 1\n\tπ"


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(1.0, "correct", "7", "last number"),
        Verdict(None, "error", None, "no"),
        Verdict(1, "correct"),
        Verdict(0.0, "wrong", "a\nb"),
        Verdict(0.0, "wrong", "x" * 201),
        Verdict(0.0, "wrong", 7),
        Verdict(0.5, "partial", steps=((1, 0.5),)),
        Verdict(0.0, "timeout", has_failed=True),
        Verdict(True, "correct", seconds=1),
    ],
)
def test_tidy_makes_plain_types_of_anything_and_changes_nothing_that_has_them(verdict):
    tidied = tidy(verdict)
    assert type(tidied) is Verdict and type(tidied.score) in (float, type(None)) and type(tidied.seconds) is float
    assert tidied.extracted is None or (type(tidied.extracted) is str and len(tidied.extracted) <= 200)
    assert not tidied.has_failed and tidy(tidied) == tidied
