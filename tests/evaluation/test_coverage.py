"""pass@k before and after, what became of the problems, and how much the sentence dares to say."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from r1lab.evaluation.coverage import KINDS, coverage, outcomes, text
from r1lab.stats.intervals import pass_at_k

RNG = np.random.default_rng(0)


def counted(counts, n):
    """[1, problems, n]: so many right completions of each problem."""
    return np.array([[[at < right for at in range(n)] for right in counts]], bool)


def drawn(shares, n, seeds=1):
    return RNG.random((seeds, len(shares), n)) < np.asarray(shares)[:, None]


def test_the_curve_is_the_unbiased_estimate_of_all_subsets():
    found = coverage(counted([0, 1, 3], 4), counted([2, 2, 4], 4))
    assert [each.k for each in found.curve] == [1, 2, 4] and found.n == 4
    for each in found.curve:
        by_hand = [any(at < right for at in chosen) for right in (0, 1, 3) for chosen in combinations(range(4), each.k)]
        assert each.base.value == pytest.approx(sum(by_hand) / (3 * comb(4, each.k)))
        passed = [pass_at_k(4, right, each.k) for right in (2, 2, 4)]
        assert each.difference.value == pytest.approx(sum(passed) / 3 - each.base.value)
        assert each.difference.low <= each.difference.value <= each.difference.high


def test_every_problem_is_of_one_kind():
    found = coverage(counted([0, 3, 1, 3, 2, 0], 4), counted([1, 0, 3, 1, 2, 0], 4))
    assert found.kinds == {"solved": 1, "lost": 1, "sharpened": 1, "dulled": 1, "unchanged": 2}
    assert sum(found.by_chance.values()) == pytest.approx(6)
    # two right of eight samples: both among the trained model's four in 6 of 28 cases, and among the base's as often
    alone = coverage(counted([0, 0], 4), counted([2, 0], 4)).by_chance
    assert alone["solved"] == alone["lost"] == pytest.approx(6 / 28)
    assert alone["unchanged"] == pytest.approx(16 / 28 + 1)


def test_other_numbers_of_samples_are_compared_as_far_as_both_reach():
    found = coverage(counted([1, 2, 0], 2), counted([4, 8, 0], 8))
    assert found.n == 2 and [each.k for each in found.curve] == [1, 2]
    assert found.kinds["unchanged"] == 3, "a half and a half"


CLAIMS = {
    "expanded": (np.repeat(0.02, 200), np.repeat(0.5, 200), "Training expanded: more problems are solved within 8"),
    "narrowed": (np.repeat(0.5, 200), np.repeat(0.02, 200), "Training narrowed: fewer problems are solved within 8"),
    "sharpened": (np.repeat([0.5, 0.0], 100), np.repeat([0.99, 0.0], 100), "Training sharpened what 8 samples already"),
    "nothing": (np.repeat([0.5, 0.0], 100), np.repeat([0.5, 0.0], 100), "Training is not shown to have changed"),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_sentence_says_what_the_intervals_allow(claim, seeds):
    before, after, says = CLAIMS[claim]
    found = coverage(drawn(before, 8, seeds), drawn(after, 8, seeds))
    assert found.sentence.startswith(says), found.sentence
    assert found.sentence.endswith("of k above 8, the samples that there are, nothing is said")
    last = found.curve[-1].difference
    assert ("which holds zero" in found.sentence) == (claim == "sharpened") and last.low <= last.high


def test_one_sample_says_nothing_of_coverage():
    found = coverage(counted([0, 1, 0], 1), counted([1, 1, 0], 1))
    assert found.n == 1 and found.sentence.startswith("One sample a problem says nothing of coverage: pass@1 changed")


def test_all_alike_has_an_interval_all_the_same():
    for right in (0, 4):
        found = coverage(counted([right] * 5, 4), counted([right] * 5, 4))
        assert all(each.base.low < each.base.high for each in found.curve)
        assert all(each.difference.low < 0 < each.difference.high for each in found.curve)


@pytest.mark.parametrize("problems", [(1, 1), (2, 3)])
def test_one_problem_or_others_are_refused(problems):
    base, trained = (counted([1] * num, 4) for num in problems)
    with pytest.raises(ValueError, match="the same problems on both sides, two at least"):
        coverage(base, trained)


def test_unequal_groups_are_cut_to_the_shortest():
    assert outcomes([[True, False, True], [False, True]]).shape == (1, 2, 2)


def test_plain_and_text_hold_every_k_and_kind():
    found = coverage(counted([0, 1], 4), counted([2, 2], 4))
    assert [each["k"] for each in found.plain()["curve"]] == [1, 2, 4] and found.plain()["sentence"] == found.sentence
    lines = text(found).splitlines()
    assert len(lines) == 5 and all(said.partition(":")[0] in lines[3] for said in KINDS.values())
