"""The share of mixed groups without bias, and the sentence that follows from it."""

import itertools
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1lab.evaluation.forecast import Share, difficulties, forecast, mixed_chance, mixed_shares, solved


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=7), st.data())
def test_the_chance_of_a_mixed_group_agrees_with_brute_force(scores, data):
    size = data.draw(st.integers(1, len(scores)))
    mixed = sum(len(set(group)) > 1 for group in itertools.combinations(scores, size))
    assert abs(mixed_chance(scores, size) - Fraction(mixed, comb(len(scores), size))) <= 1e-12


def test_it_is_unbiased_where_the_plug_in_is_not():
    """Of two completions a problem, p = 1/2, groups of two are mixed half the time; (c/n)^2 says a quarter."""
    outcomes = [[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)]
    assert sum(mixed_chance(scores, 2) for scores in outcomes) / 4 == 0.5
    plug_in = [1 - (sum(scores) / 2) ** 2 - (1 - sum(scores) / 2) ** 2 for scores in outcomes]
    assert sum(plug_in) / 4 == 0.25


def test_a_group_larger_than_what_was_sampled_is_not_said():
    assert [*mixed_shares([[0.0, 1.0, 1.0]] * 3, [1, 2, 3, 4], seed=0)] == [2, 3]
    with pytest.raises(ValueError, match="a group of 4 of 3"):
        mixed_chance([0.0] * 3, 4)


FINE = {"readable": 1.0, "truncated": 0.0, "solved": {"never": 0.1, "sometimes": 0.8, "always": 0.1}}
HARD = {"readable": 1.0, "truncated": 0.0, "solved": {"never": 0.9, "sometimes": 0.1, "always": 0.0}}
EASY = {"readable": 1.0, "truncated": 0.0, "solved": {"never": 0.0, "sometimes": 0.1, "always": 0.9}}


def shares(**by_size):
    return {int(size[1:]): Share(value, value - 0.05, value + 0.05) for size, value in by_size.items()}


@pytest.mark.parametrize("figures, mixed, is_yes, says", [
    (FINE, shares(g2=0.3, g4=0.5, g8=0.6), True, []),
    (HARD, shares(g2=0.01, g4=0.02, g8=0.04), False, ["no group size up to 8", "easier ones", "warm-up by SFT"]),
    (HARD, shares(g4=0.1, g8=0.14, g16=0.25), False, ["group_size 16 would make 0.25"]),
    (EASY, shares(g4=0.05, g8=0.1), False, ["harder ones"]),
    ({**HARD, "readable": 0.2}, shares(g8=0.05), False, ["in 80% no answer can be read"]),
    ({**FINE, "truncated": 0.6}, shares(g8=0.5), True, ["raise max_new_tokens"]),
])  # fmt: skip
def test_the_sentence_follows_the_rule_and_names_what_would_help(figures, mixed, is_yes, says):
    found = forecast(figures, mixed, [], 8)
    assert found.has_signal == is_yes and found.sentence.startswith("Yes: " if is_yes else "No: ")
    assert "and 0.2 is the least" in found.sentence
    for text in says:
        assert any(text in remedy for remedy in found.remedies), (text, found.remedies)
    assert bool(found.remedies) == bool(says)


def test_an_interval_that_holds_both_answers_is_said():
    found = forecast(FINE, {8: Share(0.22, 0.15, 0.3)}, [], 8)
    assert "the interval holds both answers" in found.sentence


def test_difficulties_name_the_kinds_of_problems_whose_groups_are_mixed():
    rows = [{"problem_id": f"p{i}", "score": float(i % 2 == 0 and j == 0)} for i in range(20) for j in range(4)]
    meta = {f"p{i}": {"level": 1 + i % 2, "text": "x" * 99, "row": i} for i in range(20)}
    # an even problem has one right of four: a group of two is mixed with chance 1/2
    assert difficulties(rows, meta, 2) == [("level=1", 0.5, 10), ("level=2", 0.0, 10)]
    assert "level=1: 0.50 mixed (10 problems)" in " ".join(
        forecast(FINE, shares(g2=0.25), difficulties(rows, meta, 2), 2).remedies
    )


def test_solved_counts_problems():
    assert solved([[1.0, 1.0], [0.0, 1.0], [0.0, 0.5], []]) == {
        "never": pytest.approx(1 / 3), "sometimes": pytest.approx(1 / 3), "always": pytest.approx(1 / 3)
    }  # fmt: skip
