"""Verdicts on completions that exist: JSONL in, JSONL out. Not how good a verifier is (`r1lab.audit.audit`)."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r1lab.audit import learned
from r1lab.evaluation.cases import Cases
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use
from r1lab.rollout import verification
from r1lab.run.files import written
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab_verifiers.verdict import STATUSES, Verdict


@dataclass(frozen=True)
class Verified:
    """Counts of a finished `r1lab verify`."""

    rows: int
    unreadable: int
    """Rows that gave no verdict; each was reported with its line."""
    statuses: dict[str, int]
    seconds: float

    def line(self) -> str:
        """One line for people."""
        found = ", ".join(f"{count} {status}" for status, count in self.statuses.items())
        rate = f"{self.rows / self.seconds:.0f} rows/s" if self.seconds else "no time"
        unread = f"; {self.unreadable} rows could not be read" if self.unreadable else ""
        return f"{self.rows} rows: {found or 'none'}; {rate}{unread}"


def verify(
    path: Path,
    verifier: Use,
    *,
    out: Path | None = None,
    settings: Mapping[str, object] = {},
    columns: Mapping[str, str | Mapping[str, str]] = {},
    where: Mapping[str, object] = {},
    workers: WorkersConfig = verification.WORKERS,
) -> Verified:
    """Verify every row of `path` (`-`: stdin) and write it with score, status, extracted, reason and seconds added.

    Rows keep their order and other fields; one that cannot be read is reported on stderr and gives no row. `out` is
    there at the end, whole; None is stdout. RecipeError before anything is judged: verifier, settings, columns, files.
    """
    judge = learned.resolve(verifier, settings)
    meter = Meter("verify", is_live=out is not None or not sys.stdout.isatty())
    asking = {"needs_answer": learned.needs_answer(judge), "is_whole": "as" in learned.settings_of(judge)}
    cases = Cases(path, columns=columns, where=where, **asking, report=meter.say)
    statuses: Counter[str] = Counter()
    lost = f"{str(out)!r} was not written" if out is not None else "what was judged is on stdout"
    with (
        terminable(lost),
        written(out, "--out", but=path) as file,
        meter,
        learned.opened({"verifier": judge}, workers) as pool,
    ):
        asked = ((case, [pool.submit(case.item, "verifier", case.solution)]) for case in cases)
        for case, (verdict,) in verification.verdicts_in_order(asked, workers):
            file.write(line_of(case.row, verdict))
            statuses[verdict.status] += 1
            meter.add()
    ordered = {status: statuses[status] for status in STATUSES if statuses[status]}
    return Verified(meter.done, cases.unreadable, ordered, meter.seconds)


def line_of(row: Mapping, verdict: Verdict) -> bytes:
    """The row with its verdict as JSON in ASCII: half a surrogate pair comes out as it went in."""
    added = {**verification.told(verdict), "seconds": round(verdict.seconds, 6)}
    return json.dumps({**row, **added}).encode() + b"\n"
