"""Areas below curves are those worked by hand, and the permutation p counts the orders that a loop counts."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize(("curve", "budget", "area", "at"), [
    ([(0, 0.2), (100, 0.6)], 100, 0.4, 0.6),
    ([(0, 0.2), (50, 0.6)], 100, 0.5, 0.6),  # 0.4 up to half of it, then 0.6
    ([(0, 0.2), (200, 0.6)], 100, 0.3, 0.4),
])  # fmt: skip
def test_areas_and_scores_at_a_budget(curve, budget, area, at):
    import curve_area

    assert curve_area.area(curve, budget) == pytest.approx(area)
    assert curve_area.score_at(curve, budget) == pytest.approx(at)


@pytest.mark.parametrize("second", [[5, 1, 4, 2, 3], [1, 1, 2, 2, 2], [1, 2, 3, 4, 5]])
def test_every_order_is_counted_once(second):
    from forecast_ranks import exact_spearman

    first = [1, 2, 2, 3, 5]
    correlation, p = exact_spearman(first, second)
    assert correlation == pytest.approx(spearmanr(first, second).statistic)
    others = [spearmanr(first, order).statistic for order in permutations(second)]
    assert p == pytest.approx(np.mean(np.abs(others) >= abs(correlation) - 1e-9))


def test_values_without_an_order_are_refused():
    from forecast_ranks import exact_spearman

    with pytest.raises(ValueError, match="have no order"):
        exact_spearman([1, 1, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="give as many of each"):
        exact_spearman([1, 2], [1, 2, 3])
