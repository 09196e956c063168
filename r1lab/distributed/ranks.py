"""Collectives over the ranks of a run: gather values, share work out, let rank 0 write, fail together. Not how ranks
start (`launch`).

Every process (rank) runs the same program. What can be computed in parts is shared out (`r1lab.distributed.partition`);
what decides is gathered first, so that every rank decides the same; rank 0 alone writes (`first`). A rank that fails
tells the others at their next exchange and all end with one line; one that dies is missed at once, one that hangs
after the deadline.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from r1lab.errors import INTERRUPTED, RecipeError, RunError

if TYPE_CHECKING:  # what a run of one process does not need
    from torch.distributed import ProcessGroup

DEADLINE_SECONDS, DEADLINE_VARIABLE = 1800, "R1LAB_RANK_DEADLINE"
"""Seconds that processes wait for each other, and the environment's word for another number."""
FAREWELL = timedelta(seconds=10)
"""How long ranks that print nothing stay: a launcher ends all once one has ended, the one that prints too."""
T = TypeVar("T")
R = TypeVar("R")


class _State:
    """This process's state in the run; `control_group` is None in a run of one process."""

    control_group: ProcessGroup | None = None
    open = False
    """A session runs: another inside it is part of it."""
    over = False
    """The run has failed and everyone was told, or cannot be."""


class _OfThread(threading.local):
    """What differs between the threads of this process."""

    group: ProcessGroup | None = None
    """Of a `Meeting` that the thread is in; else the run's."""
    alone = False
    """Rank 0 works inside `first`."""


_thread = _OfThread()


class _QuietExit(SystemExit):
    """Exit quietly: another rank prints the error."""


def meeting_group() -> ProcessGroup | None:
    """Where this thread meets the other ranks."""
    return _thread.group or _State.control_group


def size() -> int:
    group = meeting_group()
    return 1 if group is None else group.size()


def rank() -> int:
    group = meeting_group()
    return 0 if group is None else group.rank()


def is_first() -> bool:
    return rank() == 0


def is_alone() -> bool:
    """Whether this is rank 0 inside `first`, where no other rank meets it."""
    return _thread.alone


def neighbours() -> int:
    """Processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", size())) if size() > 1 else 1


@contextmanager
def session() -> Iterator[None]:
    """Join the processes that a launcher started with this one (RANK, WORLD_SIZE); fail together with one line."""
    _join()
    if size() == 1 or _State.open:
        yield
        return
    _State.open = True
    try:
        try:
            yield
        except Exception as error:  # whatever it is, the other ranks are told
            if is_missed(error):
                _State.over = True
                raise missed(error) from None
            if _State.over:
                raise
            _exchange(None, error)
    except (_QuietExit, KeyboardInterrupt) as end:
        _State.over = True
        if not isinstance(end, _QuietExit) and is_first():
            raise
        with suppress(RuntimeError):
            import torch.distributed as dist

            barrier = dist.barrier(_State.control_group, async_op=True)  # until the one who speaks has gone
            barrier.wait(FAREWELL)  # pyright: ignore[reportOptionalMemberAccess]  # None comes of others
        raise SystemExit(getattr(end, "code", INTERRUPTED)) from None
    finally:
        _State.open = False


def _join() -> None:
    if _State.control_group is not None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    import torch  # these take seconds, which a run of one process need not wait
    import torch.distributed as dist
    from accelerate import PartialState

    limit = timedelta(seconds=deadline_seconds())
    try:
        PartialState(cpu=not torch.cuda.is_available(), timeout=limit)
        control_group = dist.new_group(backend="gloo", timeout=limit)  # it passes objects, on the host
        _State.control_group = cast("ProcessGroup", control_group)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes of this run cannot meet: {_line(error)}") from None
    atexit.register(lambda: None if _State.over else dist.destroy_process_group())


def deadline_seconds() -> int:
    """How long processes wait for each other."""
    text = os.environ.get(DEADLINE_VARIABLE, str(DEADLINE_SECONDS))
    if not text.isdigit() or not int(text):
        raise RecipeError(f"{DEADLINE_VARIABLE}: {text!r} must be a whole number of seconds above 0")
    return int(text)


class Meeting:
    """Where the threads of all ranks that do work beside the main ones meet: a process group of their own, without
    which what one exchanges would be taken for the other's. Made by all ranks together; a context of such a thread."""

    def __init__(self) -> None:
        self.group: ProcessGroup | None = None
        if size() > 1:
            import torch.distributed as dist

            made = dist.new_group(backend="gloo", timeout=timedelta(seconds=deadline_seconds()))
            self.group = cast("ProcessGroup", made)

    def __enter__(self) -> None:
        _thread.group = self.group

    def __exit__(self, *_) -> None:
        _thread.group = None


def gather(make: Callable[[], T], *, alone: bool = True) -> list[T]:
    """Call `make` on every rank and return all values, in rank order. Where it raises on one, the run ends on all.

    `alone` says that nothing inside waits for other ranks; else one that fails there just leaves, and is missed.
    """
    if size() == 1:
        return [make()]
    assert not _thread.alone, "a collective inside `first`: the other ranks are not there"
    value = fault = None
    try:
        value = make()
    except Exception as error:  # whatever it is, the other ranks are told
        if not alone:
            _State.over = True
        if _State.over:
            raise
        fault = error
    return _exchange(value, fault)


def together(make: Callable[[], T]) -> T:
    """This rank's own value; where `make` raises on one rank, the run ends on all."""
    kept: list[T] = []
    gather(lambda: kept.append(make()))
    return kept[0]


def raise_together(fault: BaseException | None) -> None:
    """Raise this rank's fault, if it has one; where another has, exit quietly."""

    def own() -> None:
        if fault is not None:
            raise fault

    together(own)


def first(function: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """Call a function on rank 0 alone; every rank gets its value or its failure. Nested calls stay on rank 0."""
    if size() == 1 or _thread.alone:
        return function(*arguments, **keywords)

    def make() -> T | None:
        if not is_first():
            return None
        _thread.alone = True
        try:
            return function(*arguments, **keywords)
        finally:
            _thread.alone = False

    return cast(T, gather(make)[0])


def by_first(function: Callable[..., T]) -> Callable[..., T]:
    """Decorate a function so that rank 0 alone runs it (`first`)."""

    @wraps(function)
    def call(*arguments: Any, **keywords: Any) -> T:
        return first(function, *arguments, **keywords)

    return call


def any_of(value: T) -> T:
    """The first value that is not empty or false, over the ranks; else rank 0's."""
    values = gather(lambda: value)
    return next(filter(None, values), values[0])


def _exchange(value: Any, fault: Exception | None) -> list:
    """Exchange values; where ranks have a fault, the lowest of them raises it and the others exit quietly."""
    import torch.distributed as dist

    code = 0 if fault is None else getattr(fault, "exit_code", 1)
    answers: list = [None] * size()
    _meet(lambda: dist.all_gather_object(answers, (value, code), group=meeting_group()), fault)
    failed = [number for number, (_, code) in enumerate(answers) if code]
    if failed:
        _State.over = True
        if fault is not None and failed[0] == rank():
            raise fault
        raise _QuietExit(answers[failed[0]][1])
    values = [answer for answer, _ in answers]
    values[rank()] = value
    return values


def gather_outcomes(make: Callable[[], T], outcome: Callable[[T], R], *, alone: bool = True) -> tuple[list[R], list[T]]:
    """`gather` of what `outcome` leaves of each rank's value, and on rank 0 the values; the others get none of them."""
    own: list[T] = []

    def made() -> R:
        own.append(make())
        return outcome(own[0])

    return gather(made, alone=alone), to_first(own[0])


def to_first(value: T) -> list[T]:
    """Every rank's value on rank 0, in rank order; an empty list elsewhere."""
    if size() == 1:
        return [value]
    import torch.distributed as dist

    values: list = [None] * size() if is_first() else []
    _meet(lambda: dist.gather_object(value, values if is_first() else None, group=meeting_group()))
    if is_first():
        values[0] = value
    return values


def from_first(make: Callable[[], list[T]]) -> T:
    """This rank's of the values that `make` returns on rank 0, one to each rank."""
    if size() == 1:
        return make()[0]
    import torch.distributed as dist

    values, received = together(lambda: make() if is_first() else None), [None]
    _meet(lambda: dist.scatter_object_list(received, values, group=meeting_group()))
    return cast(T, received[0]) if values is None else values[0]


def _meet(collective: Callable[[], Any], fault: Exception | None = None) -> None:
    """A collective; RunError, or this rank's own fault, where another rank is gone or late."""
    try:
        collective()
    except RuntimeError as error:
        _State.over = True
        raise fault or missed(error) from None


def is_missed(error: Exception) -> bool:
    """Whether a collective failed because a process is gone or late, not what is computed."""
    if isinstance(error, RunError) or not isinstance(error, RuntimeError):
        return False
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()  # gloo raises a plain RuntimeError


def missed(error: Exception) -> RunError:
    """The error to raise for it, in one line."""
    is_late = "timed out" in str(error).lower() or "timeout" in str(error).lower()
    late = f"did not answer within {deadline_seconds()} s ({DEADLINE_VARIABLE})"
    gone = "is gone (its own line, if any, says why)"
    return RunError(
        f"rank {rank()} of {size()}: another process {late if is_late else gone}; "
        "the same command goes on from the last step"
    )


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def own_share(items: Sequence[T], shares: Callable) -> list[int]:
    """This rank's part of the items, by their indices."""
    return shares(items, size())[rank()] if size() > 1 else list(range(len(items)))


def shared_out(items: Sequence[T], shares: Callable, compute: Callable[[list[T]], list[R]], **options: bool) -> list[R]:
    """`compute` of all items, in their order, each rank computing its share; `shares(items, size)` says which."""
    if size() == 1 or _thread.alone:
        return compute(list(items))
    parts = shares(items, size())
    results_of_ranks = gather(lambda: compute([items[index] for index in parts[rank()]]), **options)
    whole: dict[int, R] = {}
    for indices, results in zip(parts, results_of_ranks, strict=True):
        whole |= zip(indices, results, strict=True)
    return [whole[index] for index in range(len(items))]
