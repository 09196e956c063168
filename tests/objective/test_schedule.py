import pytest

from r1lab.objective.schedule import hint_probability, learning_rate, warm_cosine


def rates(count, **settings):
    return [learning_rate(update, **{"peak": 1.0, "warmup": 0, "total": 8, **settings}) for update in range(count)]


def test_the_warm_up_rises_linearly_to_the_peak():
    assert rates(6, warmup=4, schedule="constant") == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_without_a_warm_up_the_first_update_has_the_peak():
    for schedule in ("constant", "linear", "cosine"):
        assert rates(1, schedule=schedule) == [1.0]


def test_linear_and_cosine_come_down_to_zero_at_the_total_and_stay():
    assert rates(11, warmup=2, total=10, schedule="linear")[2:] == pytest.approx([1 - k / 8 for k in range(9)])
    # the cosine at a quarter, half and all of the way down: (1 + cos(pi/4)) / 2, 1/2, 0
    assert rates(13, total=8, schedule="cosine")[::2] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0, 0, 0], abs=1e-6)


def test_a_total_within_the_warm_up_divides_by_nothing():
    assert rates(5, warmup=3, total=2, schedule="linear") == pytest.approx([1 / 3, 2 / 3, 1, 1, 0])


def test_the_warm_cosine_rises_to_its_peak_and_falls_to_its_valley():
    found = [warm_cosine(step, warmup=2, decay=2, peak=0.8, valley=0.2) for step in range(6)]
    assert found == pytest.approx([0.4, 0.8, 0.8, 0.5, 0.2, 0.2])
    assert warm_cosine(0, warmup=0, decay=0, peak=0.8, valley=0.2) == pytest.approx(0.8)


def test_hints_vanish_at_the_end_of_their_schedule():
    # 0.05 + 0.45 (1 + cos(pi t / 300)), then 0
    assert [hint_probability(done) for done in (0, 0.5, 0.999999, 1, 2)] == pytest.approx([0.95, 0.5, 0.05, 0, 0])
