"""From what moment a check's deadline counts, and what a verdict's seconds are."""

import pytest

from r1lab_verifiers import Item
from r1lab_verifiers.pool.slot import VerifierSlot

SLEEP = "time.sleep({}) or 1.0"


def test_the_time_in_the_queue_does_not_count(pool):
    made = pool(workers=1, deadline=0.6, returns="plugins:returns")
    futures = [made.submit(Item(SLEEP.format(0.3), "1"), "returns") for _ in range(4)]
    verdicts = [future.result(30) for future in futures]
    assert [verdict.score for verdict in verdicts] == [1.0] * 4
    assert all(0.25 < verdict.seconds < 0.6 for verdict in verdicts)


def test_each_run_has_the_whole_deadline_and_the_seconds_are_those_of_all(pool, tmp_path):
    late_once = f"time.sleep(0 if pathlib.Path({str(tmp_path / 'x')!r}).exists() else "
    late_once += f"pathlib.Path({str(tmp_path / 'x')!r}).touch() or 30) or 1.0"
    made = pool(workers=2, deadline=0.5, returns="plugins:returns")
    verdict = made.submit(Item(late_once, "1"), "returns").result(30)
    assert (verdict.score, verdict.status) == (1.0, "correct") and 0.5 <= verdict.seconds < 1.0


def test_the_time_to_make_a_verifier_does_not_count(pool):
    made = pool(workers=1, deadline=0.5, slow="plugins:Slow")  # making it takes 0.6 s
    verdict = made.submit(Item("x", "1"), "slow").result(30)
    assert verdict.score == 1.0 and verdict.seconds < 0.5


@pytest.mark.parametrize(("seconds", "kind"), [(0.4, "verdict"), (0.6, "timeout")])
def test_an_answer_that_was_made_too_late_is_late_whenever_it_is_read(monkeypatch, seconds, kind):
    slot = VerifierSlot.__new__(VerifierSlot)
    slot._worker, slot._deadline = Answering(seconds), 0.5
    run = slot._answer(7, 0.5, [b""])
    assert getattr(run, "kind", "verdict") == kind and run.seconds == seconds


class Answering:
    """A worker whose answer lies there."""

    def __init__(self, seconds):
        self.seconds = seconds

    def send(self, frames, *, seconds):
        pass

    def receive(self, *, seconds, limit):
        return f'[7, {self.seconds}, false, [1.0, "correct", null, "", null]]'.encode()
