"""The simulation behind the intervals' coverage does what its docstring says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from r1lab.stats.paired import holm, mean_squares, p_value

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def coverage(monkeypatch):
    """The script as a module; its folder comes first on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "interval_coverage", raising=False)
    import interval_coverage

    return interval_coverage


def test_scores_and_spreads_are_those_asked_for(coverage):
    right = coverage.outcomes(np.random.default_rng(0), 300, (10, 64, 0.1, 0.4, 0.05), 0.5, 0.5)
    assert right.mean((0, 2, 3)) == pytest.approx([0.55, 0.5, 0.5, 0.5], abs=0.02)
    seed, problem = coverage.scales(0.5, 0.1, 0.4)
    total = 1 + seed**2 + problem**2
    assert coverage.spread(0.5, seed**2 / total) == pytest.approx(0.1, abs=1e-6)
    # P(right) of a uniform share has a standard deviation of sqrt(1/12): half of the threshold's variance is given
    assert coverage.spread(0.5, 0.5) == pytest.approx(12**-0.5, abs=1e-6)
    with pytest.raises(ValueError, match="leaves no room"):
        coverage.scales(0.7, 0.1, 0.4)
    # two seeds of one arm share its problem effects alone: the covariance is the problems' variance
    among = np.cov(right[:, 1, 0].ravel(), right[:, 1, 1].ravel())[0, 1]
    assert among == pytest.approx(0.4**2, abs=0.02)


def test_familywise_is_holm_on_the_p_values(coverage):
    right = coverage.outcomes(np.random.default_rng(1), 60, (5, 64, 0.1, 0.1, 0.05), 0.5, 0.5)
    right[:20, 2] = np.minimum(1, right[:20, 2] + right[:20, 3])  # arm 2 above the others: many false claims
    found = [mean_squares(right[:, a] - right[:, b]) for a, b in coverage.PAIRS]
    told = coverage.familywise(found, 0.05)
    for at in range(60):
        one = [type(of)(*(value[at] for value in of[:4]), 5, 64) for of in found]
        adjusted, _ = holm([p_value(of) for of in one])
        true = [0.05 if a == 0 else 0.0 for a, _ in coverage.PAIRS]
        wrong = [p <= 0.05 and np.sign(of.mean) != np.sign(effect) for p, of, effect in zip(adjusted, one, true)]
        assert any(wrong) == told[at]
    assert 5 < told.sum() < 55


def test_rows_are_the_worst_cells(coverage):
    cells = [coverage.simulate((3, 64, 0.03, 0.1, effect), 50, 0.5, 0.5) for effect in (0.0, 0.05)]
    rows = {row["name"]: row["value"] for row in coverage.rows(cells)}
    assert rows["coverage_min"] == min(cell["coverage"] for cell in cells)
    assert rows["false_wins_max"] == pytest.approx(1 - cells[0]["coverage"])
    assert json.loads(json.dumps(coverage.rows(cells))) == coverage.rows(cells)
