"""Numbers worked by hand, and scipy's own as a second opinion."""

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from r1lab.stats.intervals import (
    clustered_bootstrap,
    mean_interval,
    mean_pass_at_k,
    paired_difference,
    paired_score_difference,
    pass_at_k,
    running_mean,
    wilson,
)

Z = 1.959963984540054


def test_wilson_of_none_and_of_all_right_by_hand():
    # 0 of n: low 0, high z^2 / (n + z^2) = 3.8415 / 13.8415 = 0.2775; all of n is its mirror image
    assert wilson(0, 10) == pytest.approx((0, 0, Z**2 / (10 + Z**2), 10))
    assert wilson(0, 10).high == pytest.approx(0.27753, abs=1e-5)
    assert wilson(10, 10) == pytest.approx((1, 10 / (10 + Z**2), 1, 10))


@pytest.mark.parametrize("right, n", [(81, 263), (1, 2), (5, 10), (999, 1000)])
def test_wilson_is_its_formula(right, n):
    p, middle = right / n, (right / n + Z**2 / 2 / n) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * sqrt(p * (1 - p) / n + Z**2 / 4 / n**2)
    assert wilson(right, n) == pytest.approx((p, middle - half, middle + half, n))


def test_wilson_81_of_263():
    assert wilson(81, 263) == pytest.approx((0.30798, 0.25531, 0.36614, 263), abs=1e-4)


def test_a_lower_level_is_narrower():
    wide, narrow = wilson(81, 263, level=0.95), wilson(81, 263, level=0.8)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("n, c, k", [(n, c, k) for n in (1, 4, 6) for c in range(n + 1) for k in range(1, n + 1)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n, c, k):
    subsets = list(combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_mean_pass_at_k_counts_problems_alike():
    # pass@2 of 1 right in 4: 1 - C(3,2)/C(4,2) = 1/2; of 2 in 2: 1; of 0 in 3: 0
    assert mean_pass_at_k([[1, 0, 0, 0], [1, 1], [0, 0, 0]], 2) == pytest.approx(0.5)


def test_bootstrap_agrees_with_scipy_on_problem_means():
    right_NK = [[(i * 7 + j * 3) % 5 < 2 for j in range(1 + i % 4)] for i in range(80)]
    means = np.array([np.mean(right_K) for right_K in right_NK])
    theirs = stats.bootstrap((means,), np.mean, n_resamples=10_000, method="percentile").confidence_interval
    ours = clustered_bootstrap(right_NK, seed=1)
    assert ours.value == pytest.approx(means.mean()) and ours.n == 80
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bootstrap_is_a_function_of_its_seed():
    right_NK = [[sqrt(i) / 6] for i in range(30)]
    assert clustered_bootstrap(right_NK, seed=1) == clustered_bootstrap(right_NK, seed=1)
    assert clustered_bootstrap(right_NK, seed=1) != clustered_bootstrap(right_NK, seed=2)


def test_repeating_completions_does_not_narrow_the_bootstrap():
    once, often = [[i % 2] for i in range(40)], [[i % 2] * 50 for i in range(40)]
    assert clustered_bootstrap(once, seed=3) == clustered_bootstrap(often, seed=3)


def test_mean_interval_is_students():
    values = [0.2, 0.5, 0.4, 0.9]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((0.5, low, high, 4))


def test_paired_difference_by_hand():
    # differences 1, 0, 1, 0: mean 1/2, sd 0.57735, sem 0.288675, t(0.975, 3) = 3.18245, half 0.918694
    a, b = {"p": 1, "q": 0, "r": 1, "s": 1}, {"q": 0, "p": 0, "r": 0, "s": 1}
    assert paired_difference(a, b) == pytest.approx((0.5, 0.5 - 0.918694, 0.5 + 0.918694, 4), abs=1e-5)
    assert paired_difference(a, a) == (0, 0, 0, 4)


@pytest.mark.parametrize(
    "a, b, value, low, high",
    [
        (0, 0, 0, -0.1759, 0.1759),  # Wilson's bound for none in 18: 1.96^2 / (18 + 1.96^2) = 0.1759
        (1, 1, 0, -0.1759, 0.1759),
        (1, 0, 1, 1 - 2 * 0.1759, 1),
        (0, 1, -1, -1, -1 + 2 * 0.1759),
        (0.75, 0.25, 0.5, 0.5 - 0.1759 * 1.5, 0.5 + 0.1759 * 0.5),
    ],
)
def test_scores_that_differ_alike_have_an_interval_with_width(a, b, value, low, high):
    scores = [dict.fromkeys(map(str, range(18)), score) for score in (a, b)]
    assert paired_score_difference(*scores) == pytest.approx((value, low, high, 18), abs=1e-4)


def test_scores_that_differ_otherwise_have_students_interval():
    a, b = {"p": 1, "q": 0, "r": 1, "s": 1}, {"q": 0, "p": 0, "r": 0, "s": 1}
    assert paired_score_difference(a, b) == paired_difference(a, b)
    more = dict.fromkeys(map(str, range(1000)), 1.0)
    almost = paired_score_difference(more, {**more, "0": 0.0})
    assert almost == paired_difference(more, {**more, "0": 0.0}) and almost.low < 0 < almost.high


def test_pairing_agrees_with_scipys_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.9)
    ours = paired_difference(dict(zip(map(str, range(50)), a)), dict(zip(map(str, range(50)), b)), level=0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_running_mean_keeps_a_line_where_it_is():
    assert running_mean([0, 1, 2, 3, 4], 2) == [0, 1, 2, 3, 4]
    assert running_mean([0, 3, 0, 3], 1) == [0, 1, 2, 3]
    assert running_mean([], 3) == []


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: wilson(3, 2), "3 right of 2"),
        (lambda: wilson(0, 0), "at least one"),
        (lambda: wilson(1, 2, level=95), "level 95"),
        (lambda: pass_at_k(4, 1, 8), "pass@8"),
        (lambda: mean_interval([1.0]), "more seeds"),
        (lambda: clustered_bootstrap([[1]], seed=0), "two are needed"),
        (lambda: clustered_bootstrap([[1], []], seed=0), "without outcomes"),
        (lambda: paired_difference({"a": 1, "b": 0}, {"a": 1}), "'b'"),
        (lambda: mean_pass_at_k([], 1), "at least one"),
    ],
)
def test_what_has_no_interval_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
