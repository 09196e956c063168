"""Stored completions of a run or an evaluation, judged by another verifier: which verdicts flip and, of a run, which
groups would have taught otherwise. Samples nothing and changes nothing in the folder.

A verdict flips where one verifier calls the completion right (a score of 1) and the other does not. Intervals are over
problems: completions of one problem resemble each other.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from r1lab import objective, plugin
from r1lab.audit.audit import Audit, broken_off
from r1lab.audit.rates import HEAD_CHARACTERS, MAX_KEPT_ROWS
from r1lab.audit.stored import StoredEvaluation, StoredStage, evaluation_of, is_evaluation, key_of, plan_of, stages_of
from r1lab.errors import RecipeError
from r1lab.objective.samples import advantages
from r1lab.recipe import RlStageConfig, WorkersConfig
from r1lab.recipe.base import Use
from r1lab.records import Group, Scored, Settled
from r1lab.report.tables import Section, percent
from r1lab.rollout import verification
from r1lab.rollout.gold_answers import Golds
from r1lab.rollout.reward import Reward
from r1lab.rollout.verification import SCORE
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab.stats.intervals import Interval, clustered_bootstrap, wilson
from r1lab_data import Problem
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import UNSCORED, Verdict

SHOWN_ROWS = 20
"""Flipped verdicts that a terminal shows."""
LENIENT, STRICT = "right to the stored alone", "right to the new alone"


@dataclass(frozen=True)
class StoredVerdict:
    """A completion and what was said of it."""

    place: str
    """`rl-12:3:0` (stage, step, draw, index), or `held_out:5` of an evaluation."""
    problem: Problem
    text: str
    finish: str
    num_tokens: int
    score: float | None
    status: str
    extracted: str | None
    about_turns: Mapping[str, Any] = field(default_factory=dict)
    """Of an episode, what was said in its turns."""


@dataclass
class Flips:
    """Verdicts of both sides, counted by problem."""

    judged: dict[tuple[str, str], list[tuple[bool, bool]]] = field(default_factory=lambda: defaultdict(list))
    """By problem: whether each completion is right to the stored verifier, and to the new one."""
    failed: int = 0
    """Checks that hung, crashed or gave no score."""
    unscored: int = 0
    """Completions of which a side says nothing (`error`, abstained)."""
    rows: list[dict] = field(default_factory=list)

    def add(self, stored: StoredVerdict, verdict: Verdict) -> None:
        self.failed += verdict.has_failed
        if verdict.score is None or verdict.has_failed or stored.score is None or stored.status in UNSCORED:
            self.unscored += 1
            return
        pair = stored.score == 1, verdict.score == 1
        self.judged[key_of(stored.problem)].append(pair)
        if pair[0] != pair[1] and len(self.rows) < MAX_KEPT_ROWS:
            self.rows.append({
                "completion_id": stored.place,
                "problem_id": stored.problem.id,
                "answer": stored.problem.answer,
                "right_to": "stored" if pair[0] else "new",
                "completion": stored.text[:HEAD_CHARACTERS],
                "stored": {"score": stored.score, "status": stored.status, "extracted": stored.extracted},
                "new": verification.told(verdict),
            })  # fmt: skip

    def figures(self) -> dict:
        pairs = [pair for of_problem in self.judged.values() for pair in of_problem]
        kinds = {LENIENT: (True, False), STRICT: (False, True)}
        shares = {name: by_problem(self.judged, lambda pair, kind=kind: pair == kind) for name, kind in kinds.items()}
        shares["flipped"] = by_problem(self.judged, lambda pair: pair[0] != pair[1])
        counts = Counter(pairs)
        return {
            "completions": len(pairs),
            "problems": len(self.judged),
            "counts": {LENIENT: counts[True, False], STRICT: counts[False, True],
                       "right to both": counts[True, True], "right to neither": counts[False, False]},
            "shares": {name: each and each._asdict() for name, each in shares.items()},
            "without_verdict": self.unscored,
            "failed_checks": self.failed,
            "rows": self.rows,
        }  # fmt: skip


def by_problem(judged: Mapping[Any, Sequence], is_so: Callable[[Any], bool]) -> Interval | None:
    """A share with its interval over problems: Wilson's bounds where every problem says the same, None of nothing."""
    shares = [[float(is_so(each)) for each in of_problem] for of_problem in judged.values() if of_problem]
    if not shares:
        return None
    means = {sum(each) / len(each) for each in shares}
    if len(means) > 1:
        return clustered_bootstrap(shares, seed=0)
    value, n = means.pop(), len(shares)
    bounds = wilson(round(value * n), n)
    return Interval(value, min(value, bounds.low), max(value, bounds.high), n)


def rejudge(
    folder: Path,
    verifier: Use,
    *,
    settings: Mapping[str, object] = {},
    set_name: str | None = None,
    last: int | None = None,
    workers: WorkersConfig = verification.WORKERS,
) -> Audit:
    """Judge what a run (of each stage the `last` so many steps) or an evaluation (`set_name`: its set, or where
    that lies now) holds. RecipeError where the folder is neither, or where the verifier can use none of the
    answers; those that it cannot use are left out and counted."""
    resolved, label = verification.resolve_one(verifier, settings), verification.verifier_label(verifier, settings)
    stages, evaluation = _stored(folder, set_name, last)
    sources = [each.problems for each in (*stages, *([evaluation] if evaluation else []))]
    usable, unread = zip(*(_usable(problems, {"new": resolved}, workers) for problems in sources), strict=True)
    flips, groups = Flips(), SignCount()
    meter = Meter("rejudge")
    with terminable("nothing was written"), meter, verification.opened_pool({"new": resolved}, workers) as pool:

        def verdicts(stored: Sequence[StoredVerdict]) -> dict[str, Verdict]:
            judged = verification.verdicts_in_order(((each, [_asked(each, pool)]) for each in stored), workers)
            found = {}
            for each, (verdict,) in broken_off(judged, [label], workers.deadline):
                flips.add(each, verdict)
                meter.add(has_failed=verdict.has_failed)
                found[each.place] = verdict
            return found

        if evaluation is not None:
            rows = [(n, row) for n, row in enumerate(evaluation.rows) if row["problem_id"] in usable[0]]
            verdicts([_of_row(number, row, usable[0], evaluation.name) for number, row in rows])
        for stage, of_stage in zip(stages, usable):
            for step, block in stage.blocks():
                _rejudge_block(stage, step, block, of_stage, verdicts, groups)
    num_problems = sum(map(len, sources))
    unreadable = {"count": num_problems - sum(map(len, usable)), "problems": num_problems}
    figures = {
        "folder": str(folder),
        "verifier": label,
        "unreadable": {**unreadable, "first": "; ".join(filter(None, unread))},
        **flips.figures(),
        "groups": groups.figures() if stages else None,
        "notes": [note for stage in stages for note in stage.notes],
        "wall_seconds": meter.seconds,
    }
    return Audit(f"{label} on the completions of {folder}", figures, _sections(figures), [], failed=flips.failed)


def _stored(folder: Path, set_name: str | None, last: int | None) -> tuple[list[StoredStage], StoredEvaluation | None]:
    """The stages of a run, or an evaluation."""
    if is_evaluation(folder):
        if last is not None:
            raise RecipeError("--last: an evaluation has no steps; leave it out")
        return [], evaluation_of(folder, set_name)
    if set_name is not None:
        raise RecipeError("--on goes with an evaluation's folder; a run's recipe names its data")
    plugin.importable(plan_of(folder).base, Path.cwd())
    return stages_of(folder, last), None


def _usable(problems: Mapping[str, Problem], table: Mapping, workers: WorkersConfig) -> tuple[dict[str, Problem], str]:
    """The problems whose answers the verifier can use, and a line on the others: how many, the first five."""
    golds = Golds(table, "drop", workers)
    asked = [replace(problem, verifier="new") for problem in problems.values()]
    golds.try_plug_ins({"data": asked}, base=Path.cwd())
    kept = golds.usable("data", asked)
    return {problem.id: problem for problem in kept}, next((note for note in golds.notes if "dropped" in note), "")


def _asked(stored: StoredVerdict, pool: Pool) -> Future[Verdict]:
    item = verification.item_of(stored.problem, stored.text, stored.finish, stored.num_tokens, stored.about_turns)
    return pool.submit(item, "new", stored.problem.solution)


def _of_row(number: int, row: Mapping, usable: Mapping[str, Problem], name: str) -> StoredVerdict:
    return StoredVerdict(
        f"{name}:{number}", usable[row["problem_id"]], row["text"], row["finish"] or "stop", row["num_tokens"] or 0,
        row["score"], row["status"], row["extracted"],
    )  # fmt: skip


def _of_member(member: Scored, stage: str, step: int, usable: Mapping[str, Problem]) -> StoredVerdict | None:
    """None of a demonstration, and where the verifier cannot use the answer."""
    rollout, said = member.rollout, member.verdict
    problem = usable.get(rollout.request.problem_id)
    if said is None or problem is None:
        return None
    place = f"{stage}-{step}:{rollout.request.id.draw}:{rollout.request.id.index}"
    asked = (place, problem, rollout.text, rollout.finish, rollout.num_sampled)
    return StoredVerdict(*asked, said.score, said.status, said.extracted, rollout.about_turns)


def _rejudge_block(
    stage: StoredStage,
    step: int,
    block: Sequence[Settled],
    usable: Mapping[str, Problem],
    verdicts: Callable[[Sequence[StoredVerdict]], Mapping[str, Verdict]],
    groups: "SignCount",
) -> None:
    """Every completion of a step judged again, and its groups' advantages with what the new verdicts pay."""
    members = [member for settled in block for member in settled.drawn.members]
    stored = [_of_member(member, stage.stage.name, step, usable) for member in members]
    found = verdicts([each for each in stored if each is not None])
    if not isinstance(stage.stage, RlStageConfig):
        return
    knobs = {"max_new_tokens": stage.stage.max_new_tokens, "truncated": stage.stage.truncated}
    built = objective.build(stage.stage.objective, group_size=stage.stage.group_size, **knobs)
    rewards = {name: Reward(each.reward or stage.stage.reward, **knobs) for name, each in stage.stage.data.items()}
    named = {id(member): each.place for member, each in zip(members, stored) if each is not None}
    for settled in block:
        if settled.kept is None and settled.reason != "zero_variance":
            continue  # dropped for what no verdict of one completion decides
        group, reward = settled.kept or settled.drawn, rewards[settled.drawn.draw.problem.source]
        judged = [each for each in group.members if each.reward is not None]
        again = [
            each
            if each.verdict is None
            else reward.scored(each.rollout, {SCORE: found[named[id(each)]], **each.verdicts}, each.raw)
            for each in judged
            if each.verdict is None or id(each) in named
        ]
        if len(again) == len(judged) and len(judged) > 1 and all(each.reward is not None for each in again):
            before, after = (_advantages(built, Group(settled.drawn.draw, tuple(each))) for each in (judged, again))
            groups.add(key_of(settled.drawn.draw.problem), before, after)


def _advantages(built: objective.Objective, group: Group) -> np.ndarray:
    """Of the group alone: what is scaled over a whole step keeps its sign."""
    given = built.rule.labels(group)
    computed = advantages(built, group.members) if given is None else given
    return np.array([float(np.mean(each)) for each in computed])


@dataclass
class SignCount:
    """Groups by what the new verdicts make of their advantages."""

    groups: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """By problem: `sign`, `lost`, `gained`, `size` or `same` of each group."""

    def add(self, problem: tuple[str, str], before: np.ndarray, after: np.ndarray) -> None:
        kind = (
            "sign" if (before * after < 0).any()
            else "lost" if before.any() and not after.any()
            else "gained" if after.any() and not before.any()
            else "same" if np.allclose(before, after) else "size"
        )  # fmt: skip
        self.groups[problem].append(kind)

    def figures(self) -> dict:
        counts = Counter(kind for kinds in self.groups.values() for kind in kinds)
        share = by_problem(self.groups, lambda kind: kind == "sign")
        return {
            "groups": sum(counts.values()),
            **{kind: counts[kind] for kind in KINDS},
            "share": share and share._asdict(),
        }


KINDS = {
    "sign": "an advantage changes its sign",
    "lost": "the signal is gone: all are paid alike",
    "gained": "there is a signal where there was none",
    "size": "advantages change in size alone",
    "same": "as they were",
}


def _interval(figure: Mapping | None) -> str:
    return percent(None if figure is None else Interval(**figure))


def _sections(figures: Mapping) -> list[Section]:
    counts, shares, unread, groups = (figures[key] for key in ("counts", "shares", "unreadable", "groups"))
    lost = figures["without_verdict"]
    title = (
        f"{figures['completions']} completions of {figures['problems']} problems judged again by {figures['verifier']}"
    )
    title += f"; {lost} have no score on a side" * bool(lost)
    title += f"; {unread['first']}" * bool(unread["count"])
    sections = [
        Section(
            title,
            ("verdicts", "completions", "share"),
            [*((name, counts[name], _interval(shares[name])) for name in (LENIENT, STRICT)),
             ("flipped", counts[LENIENT] + counts[STRICT], _interval(shares["flipped"]))],
            " ".join(["Right is a score of 1; intervals of 95 % over problems.", *figures["notes"]]),
        )
    ]  # fmt: skip
    if groups is not None:
        sections.append(
            Section(
                f"{groups['groups']} groups; in {_interval(groups['share'])} an advantage changes its sign",
                ("what the new verdicts make of a group", "groups"),
                [(told, groups[kind]) for kind, told in KINDS.items()],
                "Groups as they were drawn, with the recipe's reward and advantage.",
            )
        )
    columns = ("completion", "problem", "answer", "right to", "text", "stored read", "new read", "reason")
    rows = [
        [row["completion_id"], row["problem_id"], row["answer"], row["right_to"], row["completion"],
         *(f"{row[side]['extracted'] or '-'} ({row[side]['status']})" for side in ("stored", "new")),
         row["new"]["reason"]]
        for row in figures["rows"]
    ]  # fmt: skip
    flipped = counts[LENIENT] + counts[STRICT]
    return [*sections, Section(f"Flipped verdicts: {flipped}", columns, rows, num_words=len(columns),
                               shown=SHOWN_ROWS, has_reason=True)]  # fmt: skip
