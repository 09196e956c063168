"""SIGTERM and Ctrl-C: a run ends after the step at hand, amid an evaluation and at the second signal at once (`Grace`);
a command that has no state to keep ends at the first (`terminable`). Not how a run resumes (`r1lab.run.checkpoint`)."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from r1lab.errors import Stopped


@contextmanager
def terminable(lost: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM alike unwind the block and become a Stopped that says what is `lost`."""
    is_main = threading.current_thread() is threading.main_thread()
    came = [signal.SIGINT]

    def end(number: int, _frame) -> None:
        came[0] = signal.Signals(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {lost}", came[0]) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


class Grace:
    """Notices a signal and lets the step end. `asked` names the signal that came, or is empty; `heard` what was agreed
    on when it was last looked at: a signal that comes later, or while the processes agree, is heard the next time. What
    would be made anew need not end: an `at_once` block is broken off, in this process alone. Outside the main thread
    signals stay as they are, and one that is ignored stays ignored (Ctrl-C under `nohup`)."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(
        self, agree: Callable[[str], str] = lambda asked: asked, tell: Callable[[str], None] = lambda name: None
    ) -> None:
        """`agree` makes one answer of those of several processes; `tell` is called at once with the signal's name."""
        self.asked, self.agreed, self.agree, self.tell = "", "", agree, tell
        self.place = ""
        """Where an `at_once` block is at work."""
        self.before: dict[int, Any] = {}
        """Handlers, as `signal.signal` gives and takes them."""

    def __enter__(self) -> "Grace":
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in self.SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self.before = {number: signal.signal(number, self._ask) for number in heeded}
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def heard(self) -> bool:
        """Whether a signal came, to any process of the run."""
        self.agreed = self.agree(self.asked)
        return bool(self.agreed)

    def leave(self, where: str) -> None:
        """Stopped where a signal was heard."""
        if self.agreed:
            raise _stopped(self.agreed, where)

    def leave_if_heard(self, where: str) -> None:
        """Stopped where a signal came by now, to any process of the run."""
        self.heard()
        self.leave(where)

    @contextmanager
    def at_once(self, where: str) -> Iterator[None]:
        """Stopped as soon as a signal comes to this process while the block is at work, or has come before."""
        if self.asked:
            raise _stopped(self.asked, where)
        self.place = where
        try:
            yield
        finally:
            self.place = ""

    def _ask(self, number: int, _frame) -> None:
        self.asked = f"stopped by {signal.Signals(number).name}"
        self._restore()
        self.tell(signal.Signals(number).name)
        if self.place:
            raise _stopped(self.asked, self.place)

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


def _stopped(asked: str, where: str) -> Stopped:
    return Stopped(f"{asked} {where}; the same command goes on from here", signal.Signals[asked.rsplit(" ", 1)[-1]])
