"""Progress of a run for people: a line a step, a bar with ETA on a terminal, what the model wrote. Decides nothing."""

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from r1lab.records import Settled
from r1lab.run.sample_lines import sample_lines

PLAIN_COLUMNS = 100
"""Width of what the model wrote where no terminal says its own."""


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
                BarColumn(20),
                TextColumn("{task.fields[done]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", style="dim"),
            )
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task(
                f"{self.label} {name}".strip(), total=steps or budget, note="", done=self._done(0)
            )

    def step(self, row: dict) -> None:
        """One line for a row of metrics."""
        if self.quiet:
            return
        place = f"step {row['step']}" + (f"/{self.steps}" if self.steps else "")
        place = f"{' '.join(filter(None, (self.label, self.name, place)))}:"
        facts, alarms = _facts(row), [*_alarms(row), *self.warnings]
        bar = self.bar  # kept: a signal may close it between two lines of this function
        if bar is None:
            print(place, ", ".join([*facts, *alarms]), file=sys.stderr, flush=True)
            return
        grid = Table.grid(padding=(0, 1))  # what does not fit on the line goes on under the facts
        parts = [_two_tone(fact) for fact in facts] + [Text(alarm, "bold red") for alarm in alarms]
        grid.add_row(Text(place, "bold", no_wrap=True), _filled(parts, self.console.width - len(place) - 1))
        self.console.print(grid)
        count = row["step"] if self.steps or not self.budget else row.get("tokens/budget", 0)
        bar.update(self.task, completed=count, done=self._done(count))

    def samples(self, block: Sequence[Settled], step: int, every: int) -> None:
        """A right and a wrong completion of the first step's block and of every so many-th; nothing of it is kept."""
        if self.quiet or not every or (step > 1 and step % every):
            return
        if self.bar is None:
            plain = Console(stderr=True, width=PLAIN_COLUMNS, color_system=None)
            text = "\n".join(line.plain.rstrip() for line in sample_lines(block, plain))
            if text:
                print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
            return
        for line in sample_lines(block, self.console):
            self.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    def stopping(self, signal_name: str) -> None:
        """A signal came while a step is at work. The bar goes now: a second signal leaves no time for it."""
        with suppress(RuntimeError):  # it came amid a write to the same stream, which cannot be entered twice
            self.close()
            self.say(f"{signal_name}: stopping after this step; again: at once")

    def doing(self, text: str) -> None:
        """What goes on within a step, on a terminal."""
        if (bar := self.bar) is not None:
            bar.update(self.task, note=text)

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        bar, self.bar = self.bar, None
        if bar is not None:
            bar.stop()

    def _done(self, count: int) -> str:
        """How far the stage is, with its unit."""
        total, unit = (self.steps, "steps") if self.steps or not self.budget else (self.budget, "tokens")
        return f"{count:,}/{total:,} {unit}" if total else f"{count:,} {unit}" if count else ""


class Meter:
    """Rows done and their rate: a live line on a terminal, else a plain line every `EVERY_SECONDS`, also while no row
    gets done. A context."""

    EVERY_SECONDS, LIVE_SECONDS = 10.0, 0.2

    def __init__(self, label: str, *, is_live: bool = True):
        self.label, self.done, self.failed = label, 0, 0
        self.console = Console(stderr=True)
        self.status = self.console.status(label) if is_live and self.console.is_terminal else None
        self.began = self.told = time.monotonic()
        self.ended, self.telling = threading.Event(), threading.Lock()
        self.ticker = threading.Thread(target=self._tick, name="meter", daemon=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def __enter__(self) -> "Meter":
        if self.status is not None:
            self.status.start()
        self.ticker.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.ticker.join()
        if self.status is not None:
            self.status.stop()

    def add(self, *, has_failed: bool = False) -> None:
        """One more is done; `has_failed`: its check hung or crashed."""
        self.done += 1
        self.failed += has_failed
        self._tell_where_due()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.status is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _tick(self) -> None:
        while not self.ended.wait(1.0):
            self._tell_where_due()

    def _tell_where_due(self) -> None:
        every = self.EVERY_SECONDS if self.status is None else self.LIVE_SECONDS
        with self.telling:
            if (now := time.monotonic()) - self.told < every:
                return
            self.told = now
            rate = self.done / self.seconds
            pace = f"{rate:.0f}/s" if rate >= 1 else f"{60 * rate:.0f} a minute" if rate else f"{self.seconds:.0f} s"
            failed = f", {self.failed} hung or crashed" if self.failed else ""
            line = f"{self.label}: {self.done} rows{failed}, {pace}"
            if self.status is None:
                self.say(line)
            else:
                self.status.update(line)


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
    ("pass/share", "right {:.3f}"),
    ("loss/value", "loss {:.3f}"),
    ("completion/mean", "length {:.0f}"),
    ("policy/entropy", "entropy {:.2f}"),
    ("update/grad_norm", "grad {:.2f}"),
    ("time/total", "{:.1f} s"),
)


def _facts(row: dict) -> list[str]:
    facts = [text.format(row[key]) for key, text in SHOWN if row.get(key) is not None]
    return facts + [
        f"{key.split('/')[1]} {value:.3f}"
        for key, value in row.items()
        if key.startswith("eval/") and key.endswith("/avg")
    ]


def _alarms(row: dict) -> list[str]:
    """Checks that came to no verdict, and completions or programs that hung or crashed."""
    alarms = []
    for key, value in row.items():
        area, _, rest = key.partition("/")
        name, _, kind = rest.rpartition("/")
        if value and kind in ALARMS and area in ("verdict", "eval"):
            whose = f"{name}: " if name else ""
            word = ALARMS[kind].removesuffix("s") if value == 1 and area == "eval" else ALARMS[kind]
            alarms.append(f"{whose}{value} {word}" if area == "eval" else f"{whose}{value:.1%} {word}")
    return alarms


ALARMS = {"timeout": "timeouts", "crash": "crashes", "error": "ERROR verdicts", "errors": "ERROR verdicts"}


def _two_tone(fact: str) -> Text:
    """A fact with its name in the back and its figure in front."""
    name, space, value = fact.rpartition(" ")
    return Text(fact) if value == "s" else Text.assemble((name + space, "dim"), value)


def _filled(facts: Sequence[Text], width: int) -> Text:
    """The facts with commas between, over as many lines as they need; none is broken."""
    filled, column = Text(), 0
    for number, fact in enumerate(facts):
        if number:
            has_room = column + 2 + fact.cell_len + 1 <= width
            filled.append(", " if has_room else ",\n", "dim")
            column = column + 2 if has_room else 0
        filled.append_text(fact)
        column += fact.cell_len
    return filled
