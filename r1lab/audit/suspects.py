"""Reference answers that a run's own samples speak against: problems on whose completions most agree on another answer,
and those that the run's second verifier judges otherwise. A model may agree with itself on a mistake: what is found is
to be looked at, not wrong."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from r1lab import plugin
from r1lab.audit.audit import Audit
from r1lab.audit.rates import HEAD_CHARACTERS
from r1lab.audit.stored import key_of, plan_of, stages_of
from r1lab.evaluation.majority import Voting
from r1lab.recipe import WorkersConfig
from r1lab.records import Scored
from r1lab.report.tables import Section, percent
from r1lab.rollout import verification
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab.stats.intervals import Interval, wilson
from r1lab_data import Problem
from r1lab_verifiers.verdict import UNSCORED

LEAST_SAMPLES = 4
"""Completions of a problem from which on they may agree."""
MOST = 0.5
"""Share of a problem's completions, those without an answer too, beyond which they agree."""
BLOCK_PROBLEMS = 64
"""Problems whose answers are compared at once."""
SHOWN_ROWS = 20


@dataclass
class Samples:
    """A problem's completions over a whole run."""

    problem: Problem
    extracted: list[str | None] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lenient: int = 0
    """Right to the run's verifier and not to its second one."""
    strict: int = 0
    twice: int = 0
    """Judged by both."""

    def add(self, member: Scored) -> None:
        said, second = member.verdict, member.second
        if said is None or said.score is None:
            return
        self.extracted.append(said.extracted)
        self.right.append(said.score == 1)
        self.texts.append(member.rollout.text[:HEAD_CHARACTERS])
        if second is not None and second.status not in UNSCORED and second.score is not None:
            self.twice += 1
            self.lenient += said.score == 1 and second.score != 1
            self.strict += said.score != 1 and second.score == 1


def suspects(run: Path, *, last: int | None = None, workers: WorkersConfig = verification.WORKERS) -> Audit:
    """Look through what a run sampled, of each stage the `last` so many steps. RecipeError where it sampled nothing, or
    where its data are gone."""
    plugin.importable(plan_of(run).base, Path.cwd())
    samples: dict[tuple[str, str], Samples] = {}
    notes: list[str] = []
    for stage in stages_of(run, last):
        notes += stage.notes
        for _, block in stage.blocks():
            for settled in block:
                problem = settled.drawn.draw.problem
                of_problem = samples.setdefault(key_of(problem), Samples(problem))
                for member in settled.drawn.members:
                    of_problem.add(member)
    enough = [each for each in samples.values() if len(each.right) >= LEAST_SAMPLES]
    figures = {
        "run": str(run),
        "problems": len(samples),
        "problems_with_enough_samples": len(enough),
        "least_samples": LEAST_SAMPLES,
        "completions": sum(len(each.right) for each in samples.values()),
        "suspects": _agreeing(enough, workers),
        "second_verifier": _judged_otherwise(samples.values()),
        "notes": notes,
    }
    found = len(figures["suspects"]) + len(figures["second_verifier"])
    return Audit(f"references of {run}", figures, _sections(figures), [], failed=found)


def _agreeing(samples: Sequence[Samples], workers: WorkersConfig) -> list[dict]:
    """Problems whose completions mostly agree on what their verifier calls not right; the surest first."""
    table = verification.resolve({each.problem.verifier for each in samples if each.problem.verifier})
    voting, found = Voting(table), []
    with (
        terminable("nothing was written"),
        Meter("suspects") as meter,
        verification.opened_pool({**table, **voting.table}, workers) as pool,
    ):
        for start in range(0, len(samples), BLOCK_PROBLEMS):
            some = samples[start : start + BLOCK_PROBLEMS]
            asked = [(each.problem.verifier, each.extracted) for each in some]
            for each, votes in zip(some, voting.votes(pool, asked), strict=True):
                if (row := _agreement(each, votes)) is not None:
                    found.append(row)
                meter.add()
    return sorted(found, key=lambda row: (-row["agreement"]["low"], row["problem_id"]))


def _agreement(samples: Samples, votes: Sequence[int | None]) -> dict | None:
    """The answer that most completions give, where it is none that their verifier calls right."""
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        return None
    vote, count = counts.most_common(1)[0]
    places = [place for place, each in enumerate(votes) if each == vote]
    if count <= MOST * len(votes) or any(samples.right[place] for place in places):
        return None
    return {
        "problem_id": samples.problem.id,
        "prompt": samples.problem.prompt,
        "reference": samples.problem.answer,
        "answer": samples.extracted[places[0]],
        "agreement": wilson(count, len(votes))._asdict(),
        "count": count,
        "right": sum(samples.right),
        "completion": samples.texts[places[0]],
    }


def _judged_otherwise(samples: Iterable[Samples]) -> list[dict]:
    """Problems of which the second verifier judged completions otherwise; those with most of them first."""
    rows = [
        {
            "problem_id": each.problem.id,
            "reference": each.problem.answer,
            "judged_twice": each.twice,
            "right_to_the_first_alone": each.lenient,
            "right_to_the_second_alone": each.strict,
        }
        for each in samples
        if each.lenient or each.strict
    ]
    key = ("right_to_the_first_alone", "right_to_the_second_alone")
    return sorted(rows, key=lambda row: (-row[key[0]] - row[key[1]], row["problem_id"]))


def _sections(figures: Mapping) -> list[Section]:
    of_votes = ("problem", "reference", "most say", "completions", "agree", "right", "for example")
    of_second = ("problem", "reference", "judged twice", "right to the first alone", "right to the second alone")
    agreeing = [
        [row["problem_id"], row["reference"], row["answer"], row["agreement"]["n"],
         percent(Interval(**row["agreement"])), row["right"], row["completion"]]
        for row in figures["suspects"]
    ]  # fmt: skip
    second = [list(row.values()) for row in figures["second_verifier"]]
    total = f"{figures['problems_with_enough_samples']} of {figures['problems']} problems"
    few = f" with {figures['least_samples']} completions or more"
    return [
        Section(
            f"{len(agreeing)} suspect references among {total}{few}",
            of_votes,
            agreeing or [("none", *("-",) * 6)],
            " ".join(["More than half of the completions agree on an answer that is not the reference. They may be "
                      "wrong together: read the problem.", *figures["notes"]]),
            num_words=3,
            shown=SHOWN_ROWS,
        ),
        Section(
            f"Problems that the second verifier judges otherwise: {len(second)}",
            of_second,
            second,
            num_words=2,
            shown=SHOWN_ROWS,
        ),
    ]  # fmt: skip
