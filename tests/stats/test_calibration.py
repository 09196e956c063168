"""AUC and calibration on numbers worked by hand, and against scipy."""

import numpy as np
import pytest

from r1lab.stats.calibration import auc, ece, reliability


def test_the_auc_counts_ordered_pairs_and_half_the_ties():
    assert auc([3, 1, 2], [1, 0, 0]) == 1.0
    assert auc([1, 3, 2], [1, 0, 0]) == 0.0
    assert auc([1, 1, 0], [1, 0, 0]) == 0.75  # one tie of two pairs
    assert auc([1, 2], [1, 1]) is None


def test_the_auc_is_mann_and_whitneys():
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(0)
    labels, scores = random.integers(2, size=200), random.normal(size=200).round(1)
    u = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert auc(scores, labels) == pytest.approx(u / ((labels == 1).sum() * (labels == 0).sum()), abs=1e-12)


def test_the_calibration_error_is_the_weighted_gap_of_the_bins():
    bins = reliability([0.95, 0.95, 0.95, 0.95, 0.25, 1.0], [1, 1, 1, 0, 1, 1])
    assert [(each.low, each.count, round(each.share, 3)) for each in bins] == [(0.2, 1, 1.0), (0.9, 5, 0.8)]
    # 1 of 6 is off by 0.75; 5 of 6 have a mean of 0.96 and a share of 0.8
    assert ece(bins) == pytest.approx(0.75 / 6 + 5 / 6 * 0.16)


def test_probabilities_that_come_true_as_often_as_they_say_have_no_error():
    random = np.random.default_rng(0)
    p = random.uniform(size=100_000)
    assert ece(reliability(p, random.uniform(size=len(p)) < p)) < 0.01
