"""generate: everything verified, in order, nothing left behind."""

from concurrent.futures import Future

import pytest

from r1lab.records import Request, RequestId, Sampling
from r1lab.rollout.generate import generate

REQUESTS = [Request(RequestId("train", d, 0), f"p{d}", (5,), d, Sampling()) for d in range(4)]


class Answer:
    """As much of a rollout as generate reads."""

    def __init__(self, request, finish="eos"):
        self.request, self.finish = request, finish


class Backwards:
    """An engine that finishes the last request first, and fails before the one it is told to."""

    def __init__(self, fail_at=None):
        self.queue, self.aborted, self.fail_at = [], set(), fail_at

    def submit(self, requests):
        self.queue += requests

    def completed(self):
        while self.queue:
            request = self.queue.pop()
            if request.id.draw == self.fail_at and not self.aborted:
                raise RuntimeError("broken")
            yield Answer(request, "abort" if request.id in self.aborted else "eos")

    def abort(self, ids):
        self.aborted |= set(ids)


def test_pairs_come_in_the_order_of_the_requests_and_start_in_that_of_the_rollouts():
    started = []

    def verify(rollout):
        started.append(rollout.request.id.draw)
        future = Future()
        future.set_result(f"verdict of {rollout.request.problem_id}")
        return {"score": future}

    pairs = list(generate(Backwards(), verify, REQUESTS))
    assert started == [3, 2, 1, 0]
    assert [(r.request, v) for r, v in pairs] == [
        (each, {"score": f"verdict of {each.problem_id}"}) for each in REQUESTS
    ]


def test_a_consumer_that_leaves_cancels_what_waits():
    futures = {}

    def verify(rollout):
        future = futures[rollout.request.id.draw] = Future()
        if rollout.request.id.draw == 0:
            future.set_result("done")
        return {"score": future}

    stream = generate(Backwards(), verify, REQUESTS)
    next(stream)
    stream.close()
    assert [futures[d].cancelled() for d in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("culprit", ["engine", "verify", "verdict"])
def test_an_error_is_raised_and_nothing_is_left_running(culprit):
    futures, engine = [], Backwards(fail_at=1 if culprit == "engine" else None)

    def verify(rollout):
        if culprit == "verify" and rollout.request.id.draw == 1:
            raise RuntimeError("broken")
        futures.append(Future())
        if culprit == "verdict" and rollout.request.id.draw == 0:
            futures[-1].set_exception(RuntimeError("broken"))
        return {"score": futures[-1]}

    with pytest.raises(RuntimeError, match="broken"):
        list(generate(engine, verify, REQUESTS))
    assert not engine.queue and all(future.done() for future in futures)


def test_nothing_asked_is_nothing_given():
    assert list(generate(Backwards(), None, [])) == []
