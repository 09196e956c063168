"""Requests to completions with their verdicts: what the feed, evaluation, probing and rejection sampling share."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from r1lab.engines.protocol import Engine
from r1lab.records import Request, RequestId, Rollout
from verifiers.verdict import Verdict


def generate(
    engine: Engine, verify: Callable[[Rollout], Future[Verdict]], requests: Sequence[Request]
) -> Iterator[tuple[Rollout, Verdict]]:
    """Sample all of `requests`, verify each as it finishes, and yield in the order of the requests.

    Nothing else may be in flight in `engine`. Left early, by an error or by the consumer, it aborts and drains what
    still samples and cancels what still waits to be verified. Nothing starts before the first `next`.
    """
    requests = list(requests)
    started: dict[RequestId, tuple[Rollout, Future[Verdict]]] = {}
    try:
        engine.submit(requests)
        for rollout in engine.completed():
            started[rollout.request.id] = rollout, verify(rollout)
        for request in requests:
            rollout, verdict = started.pop(request.id)
            yield rollout, verdict.result()
    finally:
        engine.abort([request.id for request in requests if request.id not in started])
        for _ in engine.completed():
            pass
        for _, verdict in started.values():
            verdict.cancel()
