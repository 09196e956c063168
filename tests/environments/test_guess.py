"""The game by hand."""

import pytest

from r1lab.environments.guess import Guess
from r1lab_data import Problem


def game(number="17", **settings):
    return Guess(Problem("p", "?", number), 0, **settings)


def test_a_game_by_hand():
    made = game()
    said = [made.step(text) for text in ("3", "is it 20 or 21?", "no", "99", "17.")]
    assert [each.observation for each in said] == ["higher", "lower", "?", "?", None]
    assert [each.done for each in said] == [False] * 4 + [True] and said[-1].reward == 0.6
    verdict = made.verdict()
    assert (verdict.score, verdict.status, verdict.extracted) == (1.0, "correct", "5")


@pytest.mark.parametrize("text", ["1" * 5_000, "99999999917", "1000000017", "\u0661" * 5_000, "0"])
def test_a_number_out_of_range_is_none_however_long(text):
    assert game().step(text).observation == "?"


@pytest.mark.parametrize("text", ["17", "017", "-17", "1.17", "5 \u0661\u0667", "x17x"])
def test_the_last_number_counts(text):
    assert game().step(text).done


@pytest.mark.parametrize(("turns", "paid"), [(1, 1.0), (2, 0.9), (7, 0.4), (30, 0.1)])
def test_a_later_win_pays_less_and_never_nothing(turns, paid):
    made = game()
    for _ in range(turns - 1):
        made.step("1")
    assert made.step("17").reward == paid


def test_a_game_that_is_not_won_is_wrong():
    made = game()
    made.step("1" * 10_000)
    assert made.verdict().score == 0.0
