"""How often a verifier was right on labelled completions, as plain data for JSON. Pure counting: verifies nothing.

Accepted is a score of 1, rejected any other, `undecided` included. An error has no score, and a check that hung or
crashed came to none by itself: both are in no rate but `right`, of which they lower the share.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from r1lab.evaluation.cases import Case
from r1lab.rollout.verification import told
from r1lab.stats.intervals import Interval, wilson
from r1lab_verifiers.verdict import STATUSES, Verdict

HEAD_CHARACTERS = 200
"""Characters kept of a completion that was judged wrongly."""
MAX_KEPT_ROWS = 1000
"""Rows kept of those judged wrongly; all are counted."""
Cells = Counter[tuple[bool, str]]
"""(expected, outcome) -> rows."""


def outcome(verdict: Verdict) -> str:
    return "error" if verdict.score is None or verdict.has_failed else "accepted" if verdict.score == 1 else "rejected"


def is_right(case: Case, verdict: Verdict) -> bool:
    """Whether the verdict is what the label says; an error is not."""
    return outcome(verdict) == ("accepted" if case.expected else "rejected")


class Tally:
    """One verifier's outcomes, row by row."""

    def __init__(self) -> None:
        self.cells: Cells = Counter()
        self.groups: dict[str, dict[str, Cells]] = {"type": defaultdict(Counter), "source": defaultdict(Counter)}
        self.statuses: Counter[tuple[str, bool]] = Counter()
        self.seconds = array("d")
        self.wrong: list[dict] = []
        self.failed = 0
        """Checks that hung or crashed."""

    def add(self, case: Case, verdict: Verdict) -> None:
        is_expected = bool(case.expected)  # a row without a label is no case of an audit
        cell = (is_expected, outcome(verdict))
        self.cells[cell] += 1
        for key, groups in self.groups.items():
            if name := getattr(case, key):
                groups[name][cell] += 1
        self.statuses[verdict.status, is_expected] += 1
        self.seconds.append(verdict.seconds)
        self.failed += verdict.has_failed
        if not is_right(case, verdict) and len(self.wrong) < MAX_KEPT_ROWS:
            self.wrong.append(row_of(case, verdict))

    def figures(self) -> dict:
        """Everything known, as plain data."""
        spent = sum(self.seconds)
        return {
            **rates(self.cells),
            **{
                f"by_{key}": {name: rates(groups[name]) for name in sorted(groups)}
                for key, groups in self.groups.items()
            },
            "statuses": {
                status: {"right": self.statuses[status, True], "wrong": self.statuses[status, False]}
                for status in STATUSES
                if self.statuses[status, True] or self.statuses[status, False]
            },
            "seconds": {f"p{at}": float(np.percentile(self.seconds, at)) for at in (50, 99)} if self.seconds else {},
            "answers_per_second": len(self.seconds) / spent if spent else None,
            "failed_checks": self.failed,
            "judged_wrongly": self.wrong,
        }


def rates(cells: Mapping[tuple[bool, str], int]) -> dict:
    """The confusion table of some rows and what follows from it; a rate without a row to rest on is None."""
    at = {
        label: {name: cells.get((label, name), 0) for name in ("accepted", "rejected", "error")}
        for label in (True, False)
    }
    right = at[True]["accepted"] + at[False]["rejected"]
    return {
        "rows": sum(cells.values()),
        "confusion": {"right": at[True], "wrong": at[False]},
        "right": share(right, sum(cells.values())),
        "false_positive": share(at[False]["accepted"], at[False]["accepted"] + at[False]["rejected"]),
        "false_negative": share(at[True]["rejected"], at[True]["accepted"] + at[True]["rejected"]),
    }


def share(count: int, n: int) -> dict | None:
    """With its Wilson interval of 95 %; None of nothing."""
    return {"count": count, **wilson(count, n)._asdict()} if n else None


def interval(figure: Mapping | None) -> Interval | None:
    return None if figure is None else Interval(figure["value"], figure["low"], figure["high"], figure["n"])


def row_of(case: Case, verdict: Verdict) -> dict:
    """What a person needs to see why a row was judged so."""
    return {
        "id": case.id,
        "expected": case.expected,
        "type": case.type,
        "completion": case.item.completion[:HEAD_CHARACTERS].encode("utf-8", "replace").decode(),
        "answer": case.item.answer,
        **told(verdict),
    }
