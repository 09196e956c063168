"""avg@n, pass@k and their intervals from rows of problem, score, status and tokens."""

import pytest

from r1lab.evaluation.scores import depths, figures, summary
from r1lab.stats import intervals

KEYS = ("problem_id", "score", "status", "num_tokens")


def metrics(values):
    rows = [{**dict(zip(KEYS, row)), "vote": None, "finish": "eos"} for row in values]
    ks = depths(len(rows) // len({row["problem_id"] for row in rows}))
    return summary({"set": "test", **figures(rows, name="test", seed=0, ks=[k for k in ks if k > 1])})


def test_one_sample_a_problem_has_wilsons_interval_and_errors_count_as_not_right():
    rows = [("a", 1.0, "correct", 4), ("b", 0.0, "wrong", 6), ("c", None, "error", 2), ("d", 0.5, "partial", 8)]
    row = metrics(rows)
    interval = intervals.wilson(1, 4)
    assert (row["eval/test/avg"], row["eval/test/low"], row["eval/test/high"]) == interval[:3]
    assert row["eval/test/score"] == 1.5 / 4 and row["eval/test/completion"] == 5
    assert (row["eval/test/n"], row["eval/test/problems"], row["eval/test/errors"]) == (1, 4, 1)


def test_several_samples_give_pass_at_k_and_an_interval_over_problems():
    right = {"a": [1, 0, 0, 0], "b": [0, 0, 0, 0], "c": [1, 1, 1, 1]}
    values = [(problem, float(score), "correct", 3) for problem, scores in right.items() for score in scores]
    row = metrics(values)
    assert row["eval/test/avg"] == pytest.approx(5 / 12)
    # pass@2 of one right in four: 1 - C(3,2) / C(4,2) = 1/2; of none 0; of all 1
    assert row["eval/test/pass@2"] == pytest.approx(0.5)
    assert row["eval/test/pass@4"] == pytest.approx(2 / 3)
    assert row["eval/test/low"] < 5 / 12 < row["eval/test/high"]
    assert metrics(values) == row


@pytest.mark.parametrize("right", [(1, 1, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), (1,), (0,)])
def test_one_problem_has_a_value_and_no_interval_where_it_was_sampled_more_than_once(right):
    row = metrics([("a", float(each), "correct", 3) for each in right])
    assert row["eval/test/avg"] == sum(right) / len(right)
    assert (row["eval/test/low"] is None) == (len(right) > 1)


def test_pass_at_k_is_said_for_powers_of_two_and_n():
    assert [depths(n) for n in (2, 4, 6, 8)] == [[2], [2, 4], [2, 4, 6], [2, 4, 8]]
