"""How often a verifier is wrong on labelled completions, also beside a second one. Not reference answers without labels
(`r1lab.audit.dataset`).

The rates are of these rows; they say nothing of other completions than such as these are.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from r1lab.audit import learned
from r1lab.audit.rates import MAX_KEPT_ROWS, Tally, interval, is_right, row_of
from r1lab.audit.tolerance import TOLERATED
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation.cases import Case, Cases
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use
from r1lab.report.tables import Panel, Section, as_html, as_text, percent
from r1lab.rollout import verification
from r1lab.run.files import written
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab_verifiers.verdict import Verdict

T = TypeVar("T")
FIRST_ROWS = 10
"""After so many that all hung or crashed, references too, an audit is broken off."""
SHOWN_ROWS = 20
"""Rows judged wrongly that a terminal shows."""
WHO = {(True, True): "both right", (True, False): "only {0}", (False, True): "only {1}", (False, False): "neither"}


@dataclass(frozen=True)
class Audit:
    """What was found, as data for JSON and as tables for people."""

    title: str
    figures: dict
    sections: Sequence[Section]
    panels: Sequence[Panel]
    series: Sequence[str] = ("",)
    unreadable: int = 0
    failed: int = 0
    """Checks of golds that did not hold; of labelled rows, false positives and negatives, checks that hung or crashed.
    """
    last: str = ""
    """What a terminal's last line says."""

    def text(self) -> str:
        return "\n\n".join(filter(None, [as_text(self.sections), self.last]))


@contextmanager
def reported(json_path: Path | None, html_path: Path | None, *, but: Path | None = None) -> Iterator[Callable]:
    """A function that writes an Audit to these files, which are opened first: RecipeError where they cannot be."""
    with ExitStack() as stack:
        files = [
            path and stack.enter_context(written(path, option, but=but))
            for path, option in ((json_path, "--json"), (html_path, "--html"))
        ]

        def write(audit: Audit) -> None:
            if files[0]:
                files[0].write(json.dumps(audit.figures, indent=1).encode() + b"\n")
            if files[1]:
                files[1].write(as_html(audit.title, audit.sections, audit.panels, audit.series))

        yield write


def broken_off(
    judged: Iterable[tuple[T, list[Verdict]]], names: Sequence[str], deadline: float
) -> Iterator[tuple[T, list[Verdict]]]:
    """The same, each row with the verdicts of the verifiers `names`. RunError where one of them hung or crashed on each
    of the first rows and on their references: it will on the others."""
    first: list[list[Verdict]] = []
    for number, (row, verdicts) in enumerate(judged, 1):
        if number <= FIRST_ROWS:
            first.append(verdicts[: len(names)])
        if number == FIRST_ROWS:
            for name, column in zip(names, zip(*first)):
                if all(verdict.has_failed and verdict.status == "error" for verdict in column):
                    raise RunError(no_verdicts(name, f"the first {FIRST_ROWS} checks", column, deadline))
        yield row, verdicts


def no_verdicts(name: str, rows: str, verdicts: Sequence[Verdict], deadline: float) -> str:
    """One line that says how a verifier failed on all of some rows, and what to do."""
    return (
        f"audit: {name} came to no verdict on any of {rows}: {verification.told_failures(verdicts)}; nothing was "
        f"written; mend it, or raise --deadline ({deadline:g} s)"
    )


def audit(
    path: Path,
    verifier: Use,
    *,
    against: Use | None = None,
    settings: Mapping[str, object] = {},
    columns: Mapping[str, str | Mapping[str, str]] = {},
    where: Mapping[str, object] = {},
    workers: WorkersConfig = verification.WORKERS,
) -> Audit:
    """Verify every row of `path`, which has a label `expected`, with one verifier or two. RecipeError as in
    `verify`."""
    table = {verification.verifier_label(verifier, settings): learned.resolve(verifier, settings)}
    if against is not None:
        if str(against) in table:
            raise RecipeError(f"--against {str(against)!r} is the verifier itself; give another one")
        table[str(against)] = learned.resolve(against)
    meter = Meter("audit")
    cases = Cases(
        path,
        columns=columns,
        where=where,
        needs_answer=any(map(learned.needs_answer, table.values())),
        is_labelled=True,
        is_whole=any("as" in learned.settings_of(judge) for judge in table.values()),
        report=meter.say,
    )
    tallies = {name: Tally() for name in table}
    versus = Versus(tuple(table))
    with terminable("nothing was written"), meter, learned.opened(table, workers) as pool:
        asked = ((case, [pool.submit(case.item, name, case.solution) for name in table]) for case in cases)
        judged = verification.verdicts_in_order(asked, workers)
        for case, verdicts in broken_off(judged, list(table), workers.deadline):
            for tally, verdict in zip(tallies.values(), verdicts):
                tally.add(case, verdict)
            versus.add(case, verdicts)
            meter.add(has_failed=any(verdict.has_failed for verdict in verdicts))
    figures = {
        "cases": str(path),
        "rows": meter.done,
        "unreadable": cases.unreadable,
        "wall_seconds": meter.seconds,
        "workers": workers.count,
        "verifiers": {
            name: {"settings": learned.settings_of(table[name]), **tallies[name].figures()} for name in table
        },
    }
    if against is not None:
        figures["disagreements"] = versus.figures()
    title = f"{' against '.join(table)} on {path.name}"
    wrong = {name: _disagreements(measured) for name, measured in figures["verifiers"].items()}
    failed = sum(tally.failed for tally in tallies.values()) + sum(map(sum, wrong.values()))
    last = "; ".join(f"{name}: false positives: {lenient}, false negatives: {strict}" for name, (lenient, strict) in
                     wrong.items())  # fmt: skip
    panels = _panels(figures["verifiers"])
    return Audit(title, figures, _sections(figures), panels, tuple(table), cases.unreadable, failed, last)


def _disagreements(measured: Mapping) -> tuple[int, int]:
    """(false positives, false negatives) of a verifier's rows."""
    confusion = measured["confusion"]
    return confusion["wrong"]["accepted"], confusion["right"]["rejected"]


class Versus:
    """Rows on which two verifiers disagree, and which of the two was right."""

    def __init__(self, names: tuple[str, ...]):
        self.counts = {who.format(*names, ""): 0 for who in WHO.values()}
        self.names, self.rows = names, []

    def add(self, case: Case, verdicts: Sequence[Verdict]) -> None:
        if len(verdicts) < 2:
            return
        right = is_right(case, verdicts[0]), is_right(case, verdicts[1])
        who = WHO[right].format(*self.names)
        self.counts[who] += 1
        if right[0] != right[1] and len(self.rows) < MAX_KEPT_ROWS:
            rows = {name: row_of(case, verdict) for name, verdict in zip(self.names, verdicts)}
            self.rows.append({"id": case.id, "right": self.names[right.index(True)], **rows})

    def figures(self) -> dict:
        return {"counts": self.counts, "rows": self.rows}


def _sections(figures: Mapping) -> list[Section]:
    verifiers = figures["verifiers"]
    versus = figures.get("disagreements", {"counts": {}, "rows": []})
    return [
        _summary(figures),
        Section(
            "Confusion",
            ("verifier", "completion", "accepted", "rejected", "error"),
            [
                (name, f"{label} by its label", *found["confusion"][label].values())
                for name, found in verifiers.items()
                for label in ("right", "wrong")
            ],
            "Accepted is a score of 1; an undecided completion counts by its score.",
            num_words=2,
        ),
        _tolerance(verifiers),
        *(_by(key, verifiers) for key in ("type", "source")),
        Section(
            "By status",
            ("verifier", "status", "right by label", "wrong by label"),
            [
                (name, status, counts["right"], counts["wrong"])
                for name, found in verifiers.items()
                for status, counts in found["statuses"].items()
            ],
            num_words=2,
        ),
        Section("Who was right", ("verdict", "rows"), list(versus["counts"].items())),
        _parted(versus["rows"]),
        *(_wrong(name, found) for name, found in verifiers.items()),
    ]


def _summary(figures: Mapping) -> Section:
    rows = []
    for name, measured in figures["verifiers"].items():
        seconds, rate = measured["seconds"], measured["answers_per_second"]
        undecided, error = (sum(measured["statuses"].get(status, {}).values()) for status in ("undecided", "error"))
        rows.append((
            name,
            *(percent(interval(measured[key])) for key in ("false_positive", "false_negative", "right")),
            undecided,
            error,
            *(f"{1000 * seconds[key]:.1f}" if seconds else None for key in ("p50", "p99")),
            f"{rate:.0f}" if rate else None,
        ))  # fmt: skip
    title = f"{figures['rows']} labelled completions, {figures['unreadable']} rows not readable"
    if failed := sum(measured["failed_checks"] for measured in figures["verifiers"].values()):
        title += f"; checks that hung or crashed: {failed}"
    return Section(
        title,
        ("verifier", "false positives", "false negatives", "right", "undecided", "error", "p50 ms", "p99 ms", "/s"),
        rows,
        "False positives are the share of wrong completions that were accepted, false negatives the share of right "
        "ones that were rejected, each with its Wilson interval of 95 %; errors (a check that hung or crashed "
        "is one) have no score and are in neither, and count as not right. Answers per second (/s) are one worker's.",
    )


def _tolerance(verifiers: Mapping) -> Section:
    """The measured rates beside what training was found to tolerate."""
    names = {"false_positive": "false positives", "false_negative": "false negatives"}
    return Section(
        "How good must it be?",
        ("verifier", "rate", "measured", "training tolerated"),
        [
            (name, said, percent(interval(found[key])), TOLERATED[key])
            for name, found in verifiers.items()
            for key, said in names.items()
        ],
        num_words=2,
    )


def _by(key: str, verifiers: Mapping) -> Section:
    return Section(
        f"By {key}",
        (key, "verifier", "rows", "false positives", "false negatives", "right"),
        [
            (group, name, rates["rows"], *(percent(interval(rates[k])) for k in ("false_positive", "false_negative")),
             percent(interval(rates["right"])))
            for group in next(iter(verifiers.values()))[f"by_{key}"]
            for name, found in verifiers.items()
            for rates in [found[f"by_{key}"][group]]
        ],
        num_words=2,
    )  # fmt: skip


def _wrong(name: str, figure: Mapping) -> Section:
    columns = ("id", "expected", "completion", "answer", "extracted", "status", "reason")
    rows = [[row[key] for key in columns] for row in figure["judged_wrongly"]]
    for row in rows:
        row[1] = _label(row[1])
    right = figure["right"]
    title = f"Judged wrongly by {name}: {right['n'] - right['count'] if right else 0}"
    header = ("id", "label", *columns[2:])
    return Section(title, header, rows, num_words=len(columns), shown=SHOWN_ROWS, has_reason=True)


def _parted(rows: Sequence[Mapping]) -> Section:
    """A row for each completion on which only one verifier was right."""
    names = [key for key in rows[0] if key not in ("id", "right")] if rows else []
    return Section(
        "Where they part",
        ("id", "label", "right is", "completion", "answer", *(f"{name} read" for name in names)),
        [
            (row["id"], _label(row[names[0]]["expected"]), row["right"], row[names[0]]["completion"],
             row[names[0]]["answer"], *(f"{row[name]['extracted'] or '-'} ({row[name]['status']})" for name in names))
            for row in rows
        ],
        num_words=5 + len(names),
        shown=SHOWN_ROWS,
    )  # fmt: skip


def _label(expected: bool) -> str:
    return "right" if expected else "wrong"


def _panels(verifiers: Mapping) -> list[Panel]:
    first = next(iter(verifiers.values()))
    if not first["rows"]:
        return []
    return [
        Panel(title, [
            ("all", [interval(found[key]) for found in verifiers.values()]),
            *((group, [interval(found["by_type"][group][key]) for found in verifiers.values()])
              for group in first["by_type"]),
        ])
        for key, title in (("false_positive", "False positives"), ("false_negative", "False negatives"))
    ]  # fmt: skip
