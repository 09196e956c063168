"""Progress of a run for people: a bar with ETA on a terminal, plain lines elsewhere. Decides nothing."""

import sys
import time
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """One line a step. `label` stands before each, so that two arms in one terminal can be told apart."""

    def __init__(self, label: str = "", *, quiet: bool = False):
        self.label, self.quiet = label, quiet
        self.console = Console(stderr=True)
        self.bar: Bar | None = None
        self.task = TaskID(0)
        """The bar's only one."""
        self.warnings: list[str] = []
        """What each step's line ends with."""

    def stage(self, name: str, steps: int | None, budget: int | None) -> None:
        """A stage begins; the bar counts steps, or budget tokens where only those are known."""
        self.close()
        self.name, self.steps, self.budget, self.began = name, steps, budget, time.monotonic()
        if self.console.is_terminal and not self.quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task(f"{self.label} {name}".strip(), total=steps or budget, note="")

    def step(self, row: dict) -> None:
        """One line for a row of metrics."""
        if self.quiet:
            return
        place = f"step {row['step']}" + (f"/{self.steps}" if self.steps else "")
        line = f"{' '.join(filter(None, (self.label, self.name, place)))}: {', '.join([*_facts(row), *self.warnings])}"
        if self.bar is None:
            print(line, file=sys.stderr, flush=True)
            return
        self.say(line)
        self.bar.update(self.task, completed=row["step"] if self.steps else row.get("tokens/budget", 0))

    def doing(self, text: str) -> None:
        """What goes on within a step, on a terminal."""
        if self.bar is not None:
            self.bar.update(self.task, note=text)

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class Meter:
    """Rows done and their rate: a live line on a terminal, else a plain line every `EVERY_SECONDS`. A context."""

    EVERY_SECONDS, LIVE_SECONDS = 10.0, 0.2

    def __init__(self, label: str, *, is_live: bool = True):
        self.label, self.done = label, 0
        self.console = Console(stderr=True)
        self.status = self.console.status(label) if is_live and self.console.is_terminal else None
        self.began = self.told = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __enter__(self) -> "Meter":
        if self.status is not None:
            self.status.start()
        return self

    def __exit__(self, *_) -> None:
        if self.status is not None:
            self.status.stop()

    def add(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        if now - self.told < (self.EVERY_SECONDS if self.status is None else self.LIVE_SECONDS):
            return
        self.told = now
        line = f"{self.label}: {self.done} rows, {self.done / self.seconds:.0f}/s"
        if self.status is None:
            self.say(line)
        else:
            self.status.update(line)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.status is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class PhaseClock:
    """Seconds of the phases of one step after another; each is shown while it lasts."""

    def __init__(self, progress: Progress):
        self.progress, self.step = progress, 0
        self.marks: list[tuple[str, float]] = []

    def start(self, phase: str, step: int | None = None) -> None:
        """A phase begins, the one before ends."""
        self.step = self.step if step is None else step
        self.marks.append((phase, time.monotonic()))
        self.progress.doing(f"step {self.step}: {phase}")

    def lap(self) -> dict[str, float]:
        """Seconds of every phase since the last lap. What comes now is recording, and counts in the next one."""
        now, seconds = time.monotonic(), {}
        for (phase, start), (_, end) in pairwise([*self.marks, ("", now)]):
            seconds[phase] = seconds.get(phase, 0.0) + end - start
        self.marks = [("record", now)]
        return seconds


SHOWN = (
    ("reward/mean", "reward {:.3f}"),
    ("loss/value", "loss {:.3f}"),
    ("completion/mean", "length {:.1f}"),
    ("policy/entropy", "entropy {:.2f}"),
    ("update/grad_norm", "grad {:.2f}"),
    ("time/total", "{:.1f} s"),
)


def _facts(row: dict) -> list[str]:
    facts = [text.format(row[key]) for key, text in SHOWN if row.get(key) is not None]
    facts += [
        f"{key.split('/')[1]} {value:.3f}"
        for key, value in row.items()
        if key.startswith("eval/") and key.endswith("/avg")
    ]
    errors = row.get("verdict/error")
    return facts + ([f"{errors:.1%} ERROR verdicts"] if errors else [])
