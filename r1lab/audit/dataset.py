"""Check a dataset's reference answers with their verifier: the reference must score 1, the answer written another way
too, an answer made wrong 0.

No labels and no model are needed; what it finds are faults of a dataset and of its verifier together.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from r1lab.audit.audit import FIRST_ROWS, Audit, broken_off
from r1lab.audit.metamorphic import DOLLARS, OTHER, SAME, Variant, variants
from r1lab.audit.rates import interval, share
from r1lab.errors import RecipeError
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use
from r1lab.recipe.data import SourceConfig
from r1lab.report.tables import Panel, Section, percent
from r1lab.rollout import verification
from r1lab.rollout.problems import load_problems
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab_data import Problem
from r1lab_verifiers import Resolved, reference_checks
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Verdict

REFERENCE = "reference"
SHOWN_ROWS = 20
"""Failed checks that a terminal shows."""


@dataclass(frozen=True)
class GoldCheck:
    """A completion made of a problem's reference answer, and the score it must have."""

    problem: Problem
    variant: Variant | None
    """None: its reference."""

    @property
    def rule(self) -> str:
        return self.variant.rule if self.variant else REFERENCE

    @property
    def wanted(self) -> float:
        return 1.0 if self.variant is None or self.variant.is_same else 0.0


def audit_golds(
    source: SourceConfig,
    verifier: Use | None = None,
    *,
    settings: Mapping[str, object] = {},
    workers: WorkersConfig = verification.WORKERS,
) -> Audit:
    """Check every problem of a dataset or task. Without a verifier a task's own; else RecipeError, as for bad data."""
    is_whole = verifier is not None and "as" in verification.resolve_one(verifier, settings).settings
    problems = load_problems(source, "audit", "", Path.cwd(), "--dataset", is_whole=is_whole)
    spec = verifier or problems[0].verifier
    if not spec:
        raise RecipeError("--verifier: a dataset names none; give one (math, numeric, ...)")
    name, table = verification.verifier_label(spec, settings), tables(verification.resolve_one(spec, settings))
    findings, meter = GoldFindings(), Meter("audit")
    with terminable("nothing was written"), meter, verification.opened_pool(table, workers) as pool:
        judged = verification.verdicts_in_order(_asked(problems, pool, table), workers)
        for check, verdicts in broken_off(judged, [name], workers.deadline):
            findings.add(check, verdicts)
            meter.add(has_failed=verdicts[0].has_failed)
    figures = {
        "dataset": source.path or f"task:{source.task}",
        "verifier": name,
        "problems": len(problems),
        "wall_seconds": meter.seconds,
        "workers": workers.count,
        **findings.figures(len(problems)),
    }
    title = f"{name} on the golds of {figures['dataset']}"
    return Audit(title, figures, _sections(figures), _panels(figures["checks"]), failed=len(findings.failed))


def tables(resolved: Resolved) -> dict[str, Resolved]:
    """The verifier, and what states its reference answers: not for one that runs programs, which have a solution
    instead."""
    if resolved.isolated:
        return {"verifier": resolved}
    wordings = {
        REFERENCE: reference_checks.reference(resolved),
        "stated": reference_checks.stated(resolved),
        "kind": reference_checks.kind(resolved),
    }
    return {"verifier": resolved, **{name: each for name, each in wordings.items() if each is not None}}


Asked = Iterator[tuple[GoldCheck, list[Future[Verdict]]]]


def _asked(problems: Sequence[Problem], pool: Pool, table: Mapping[str, Resolved]) -> Asked:
    """The checks of all problems: the reference of each, then its variants; of the first ones the references first of
    all, which tell soon whether there are verdicts at all."""
    for some in (problems[:FIRST_ROWS], *([problem] for problem in problems[FIRST_ROWS:])):
        for problem in some:
            yield from _reference(problem, pool, table)
        for problem in some:
            yield from _variants(problem, pool, table)


def _reference(problem: Problem, pool: Pool, table: Mapping[str, Resolved]) -> Asked:
    """The check of its reference, if it has one, with the kind of the gold where the verifier can say it."""
    if problem.solution is None and REFERENCE not in table:
        return
    item = verification.item_of(problem, problem.solution or "")
    verifier = REFERENCE if problem.solution is None else "verifier"
    futures = [pool.submit(item, verifier, problem.solution, is_reference=True)]
    yield GoldCheck(problem, None), futures + ([pool.submit(item, "kind", problem.solution)] if "kind" in table else [])


def _variants(problem: Problem, pool: Pool, table: Mapping[str, Resolved]) -> Asked:
    if not isinstance(problem.answer, str) or "stated" not in table:
        return
    for variant in variants(problem.answer):
        item = verification.item_of(problem, variant.text)
        yield GoldCheck(problem, variant), [pool.submit(item, "stated", problem.solution)]


@dataclass
class GoldFindings:
    """Checks and failures by rule, and the kinds of the golds."""

    total: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failed: list[dict] = field(default_factory=list)
    doubtful: list[dict] = field(default_factory=list)
    """Golds that may be read as less than they say."""
    without_verdict: int = 0
    """Of those that failed, checks that hung or crashed."""

    def add(self, check: GoldCheck, verdicts: Sequence[Verdict]) -> None:
        verdict, *kind = verdicts
        self.total[check.rule] += 1
        if verdict.score == check.wanted and not verdict.has_failed:  # a check that hung has the score 0 by blame alone
            self.held[check.rule] += 1
        else:
            self.failed.append(_row(check, verdict))
        self.without_verdict += verdict.has_failed
        for said in kind:
            if said.score is not None and said.reason:
                self.doubtful.append({"id": check.problem.id, "answer": check.problem.answer, "reason": said.reason})
            self.kinds["error" if said.score is None or said.has_failed else str(said.extracted)] += 1

    def figures(self, num_problems: int) -> dict:
        rules = {name: wanted for rules, wanted in (((REFERENCE, DOLLARS), 1), (SAME, 1), (OTHER, 0)) for name in rules}
        parsed = sum(self.kinds.values()) - self.kinds["text"] - self.kinds["unreadable"] - self.kinds["error"]
        return {
            "checks": {
                name: {"wanted": wanted, **rate}
                for name, wanted in rules.items()
                if (rate := share(self.held[name], self.total[name]))
            },
            "without_reference": num_problems - self.total[REFERENCE],
            "kinds": dict(self.kinds.most_common()),
            "parsed": share(parsed, sum(self.kinds.values())),
            "without_verdict": self.without_verdict,
            "doubtful": self.doubtful,
            "failed": self.failed,
        }


def _row(check: GoldCheck, verdict: Verdict) -> dict:
    return {
        "id": check.problem.id,
        "check": check.rule,
        "wanted": check.wanted,
        "answer": check.problem.answer,
        "stated": check.variant.text if check.variant else None,
        **verification.told(verdict),
    }


def _sections(figures: Mapping) -> list[Section]:
    checks, kinds = figures["checks"], figures["kinds"]
    columns = ("id", "check", "answer", "stated", "status", "extracted", "reason")
    missing, hung = figures["without_reference"], figures["without_verdict"]
    return [
        Section(
            f"{figures['problems']} problems, {sum(each['n'] for each in checks.values())} checks, "
            f"{len(figures['failed'])} failed"
            + (f" ({hung} hung or crashed: the verifier came to no verdict)" if hung else "")
            + (f"; {missing} problems have no reference" if missing else ""),
            ("check", "must score", "problems", "failed", "held"),
            [
                (name, each["wanted"], each["n"], each["n"] - each["count"], percent(interval(each)))
                for name, each in checks.items()
            ],
            "The reference is the dataset's solution, else what the verifier makes of its own gold. The other rows are "
            "the gold written another way, which must score 1, and made wrong, which must score 0.",
        ),
        Section(
            f"Kinds of golds: {percent(interval(figures['parsed']))} read as something other than text",
            ("kind", "golds"),
            list(kinds.items()),
        ),
        Section(
            f"Golds read as words though they hold digits or TeX: {len(figures['doubtful'])}",
            ("id", "answer", "reason"),
            [[row["id"], row["answer"], row["reason"]] for row in figures["doubtful"]],
            num_words=3,
            shown=SHOWN_ROWS,
        ),
        Section(
            f"Failed checks: {len(figures['failed'])}",
            columns,
            [[row[key] for key in columns] for row in figures["failed"]],
            num_words=len(columns),
            shown=SHOWN_ROWS,
            has_reason=True,
        ),
    ]


def _panels(checks: Mapping) -> list[Panel]:
    return [
        Panel(title, [(name, [interval(each)]) for name, each in checks.items() if each["wanted"] == wanted])
        for title, wanted in (("Held: must score 1", 1), ("Held: must score 0", 0))
        if any(each["wanted"] == wanted for each in checks.values())
    ]
