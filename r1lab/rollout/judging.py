"""Verdicts on many completions, in order and in constant memory. Not the pool itself (`r1lab_verifiers.pool.pool`)."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import Workers
from r1lab.recipe.base import Use
from r1lab.recipe.load import parse_yaml
from r1lab.rollout.verification import warnings
from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_verifiers.plugin import load
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Verdict

T = TypeVar("T")
WORKERS = Workers()
AHEAD = 16
"""Completions in flight for each worker: enough that none waits, few enough that large ones fit into memory."""


def resolved(verifier: Use, settings: Mapping[str, object] = {}) -> verifiers.Resolved:
    """What a recipe's `verifier:` means, here also as its YAML text. RecipeError in one line where it means nothing."""
    spec = parse_yaml(verifier, "verifier") if isinstance(verifier, str) and verifier.startswith("{") else verifier
    if settings:
        spec = {**(spec if isinstance(spec, dict) else {"use": spec}), **settings}
    try:
        return verifiers.resolve(spec, [Path.cwd()])
    except ValueError as error:
        raise RecipeError(" ".join(str(error).split())) from None


def label(verifier: Use, settings: Mapping[str, object] = {}) -> str:
    """What a verifier is called in tables."""
    return " ".join([str(verifier), *(f"{name}={value}" for name, value in settings.items())])


def needs_answer(verifier: verifiers.Resolved) -> bool:
    """Whether it compares with a gold answer at all; one that does not says `needs_answer = False`."""
    return bool(getattr(load(verifier.path), "needs_answer", True))


@contextmanager
def opened(table: Mapping[str, verifiers.Resolved], workers: Workers, base: Path | None = None) -> Iterator[Pool]:
    """A pool, closed at the end; the folder `base` and the current one are importable. RunError where its sandbox
    fails."""
    for line in warnings(table):
        print(f"r1lab: {line}", file=sys.stderr)
    try:
        with Pool(
            table,
            workers=workers.count,
            deadline=workers.deadline,
            memory_mb=workers.memory_mb,
            import_paths=[*([str(base)] if base else []), str(Path.cwd())],
        ) as pool:
            yield pool
    except SandboxError as error:
        raise RunError(f"verifier: {error}") from None


def in_order(asked: Iterable[tuple[T, list[Future[Verdict]]]], workers: Workers) -> Iterator[tuple[T, list[Verdict]]]:
    """Each with its verdicts, as asked; what is asked for next is drawn only while less than a window is in flight."""
    waiting: deque[tuple[T, list[Future[Verdict]]]] = deque()
    for each in asked:
        waiting.append(each)
        while waiting and (len(waiting) > AHEAD * workers.count or all(future.done() for future in waiting[0][1])):
            yield _finished(*waiting.popleft())
    yield from (_finished(*each) for each in waiting)


def _finished(what: T, futures: list[Future[Verdict]]) -> tuple[T, list[Verdict]]:
    return what, [_verdict(future) for future in futures]


def _verdict(future: Future[Verdict]) -> Verdict:
    try:
        return future.result()
    except Exception as error:  # an item that no worker can be sent: nested too deeply to be pickled
        return Verdict(None, "error", reason=f"it cannot be sent to a worker: {type(error).__name__}: {error}"[:500])
