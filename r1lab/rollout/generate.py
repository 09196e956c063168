"""Sample requests and verify each completion as it finishes. The feed, evaluation, probing and rejection sampling share
it; what is requested and what a verdict is worth is theirs."""

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, nullcontext

from r1lab.engines.protocol import Engine
from r1lab.records import Request, RequestId, Rollout
from r1lab.rollout.episode import Episodes
from r1lab.timing import Watch
from r1lab_verifiers.verdict import Verdict


def generate(
    engine: Engine,
    verify: Callable[[Rollout], Mapping[str, Future[Verdict]]],
    requests: list[Request],
    watch: Watch | None = None,
    episodes: Episodes | None = None,
) -> Iterator[tuple[Rollout, dict[str, Verdict]]]:
    """Sample all of `requests`, verify each as it finishes, and yield in the order of the requests, each with its
    verdicts by name.

    Nothing else may be in flight in `engine`. Left early, by an error or by the consumer, it aborts and drains what
    still samples and cancels what still waits to be verified. Nothing starts before the first `next`. `watch` is told
    how long sampling took. With `episodes`, requests of problems that have an environment are played turn by turn.
    """
    started: dict[RequestId, tuple[Rollout, Mapping[str, Future[Verdict]]]] = {}
    try:
        stream = episodes.play(engine, requests, watch) if episodes else sampled(engine, requests)
        with watch("rollout") if watch else nullcontext(), closing(stream):
            for rollout in stream:
                started[rollout.request.id] = rollout, verify(rollout)
        for request in requests:
            rollout, futures = started.pop(request.id)
            yield rollout, {name: future.result() for name, future in futures.items()}
    finally:
        engine.abort([request.id for request in requests if request.id not in started])
        for _ in engine.completed():
            pass
        for future in (future for _, futures in started.values() for future in futures.values()):
            future.cancel()


def sampled(engine: Engine, requests: list[Request]) -> Generator[Rollout, None, None]:
    """One completion each, as they finish."""
    engine.submit(requests)
    yield from engine.completed()
