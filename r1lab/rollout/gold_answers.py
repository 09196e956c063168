"""Find reference answers that their verifier cannot use, before training. Not whether they are right (`r1lab audit`).

A built-in verifier's own `check(answer)` is called; a plug-in's is not, since nothing of it runs outside a worker: it
judges a few references there, and one that comes to no verdict on any of them is refused. Tests of programs are run on
the problem's own solution too: a completion cannot be blamed for a test that the solution fails. Reward functions of
other trainers are tried on a problem.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError
from r1lab.recipe import WorkersConfig
from r1lab.rollout import verification
from r1lab.run.progress import Meter
from r1lab_data import Problem
from r1lab_verifiers.pool.blame import failure_of
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.pool.slot import MAKING
from r1lab_verifiers.verdict import Verdict

SHOWN_PROBLEMS = 5
TRIED_PROBLEMS = 3
"""Of a source, references that a plug-in judges before training: each that hangs takes two deadlines."""


class Golds:
    """The verifiers of a run's table, built once, and what is done with a bad gold (`error` or `drop`)."""

    def __init__(self, table: Mapping[str, verifiers.Resolved], on_bad_gold: str, workers: WorkersConfig):
        ours = verifiers.BUILT_IN.values()
        self.table = table
        self.isolated, self.workers = {key: each for key, each in table.items() if each.isolated}, workers
        live = {key: each.build() for key, each in table.items() if each.path in ours}
        trials = {key: each for key, each in table.items() if each.path not in ours}
        self.plug_ins = {key: each for key, each in trials.items() if "as" not in each.settings}  # tried in another way
        self.checks = {key: each.check for key, each in live.items()}
        self.doubts = {key: each.doubt for key, each in live.items()}
        self.on_bad_gold = on_bad_gold
        self.notes: list[str] = []
        """What was dropped, and what is read as words though it may be mathematics: a line a source."""

    def usable(self, name: str, problems: Sequence[Problem]) -> list[Problem]:
        """The problems whose reference answers can be used. RecipeError names the first others, unless they are
        dropped."""
        own = {problem.verifier: problem for problem in reversed(problems) if problem.verifier in self.table}
        self.check_reward_functions(own)
        reasons = {problem.id: reason for problem in problems if (reason := self._reason(problem))}
        reasons |= self._failed([problem for problem in problems if problem.id not in reasons])
        bad = [(problem, reasons[problem.id]) for problem in problems if problem.id in reasons]
        self._note_doubts(name, [problem for problem in problems if problem.id not in reasons])
        if not bad:
            return list(problems)
        first = "; ".join(f"{problem.id}: {reason}" for problem, reason in bad[:SHOWN_PROBLEMS])
        where = "data" if name == "data" else f"data {name}"
        count = f"{where}: {len(bad)} of {len(problems)} reference answers cannot be judged"
        if self.on_bad_gold != "drop":
            raise RecipeError(f"{count} ({first}); mend them, or set on_bad_gold: drop")
        if len(bad) == len(problems):
            raise RecipeError(f"{count} ({first}); nothing is left to drop them from")
        self.notes.append(f"{count} and were dropped ({first})")
        return [problem for problem in problems if problem.id not in reasons]

    def check_reward_functions(self, problems: Mapping[str, Problem]) -> None:
        """Try the reward functions of other trainers among verifiers, by their keys, on a problem each."""
        verification.check_reward_functions(
            ((self.table[key], problem) for key, problem in problems.items()), self.workers
        )

    def _note_doubts(self, name: str, problems: Sequence[Problem]) -> None:
        """One line for the reference answers that are compared as words though they hold digits or TeX."""
        asked = ((problem, self.doubts.get(problem.verifier)) for problem in problems)
        doubts = [f"{problem.id}: {said}" for problem, doubt in asked if doubt and (said := doubt(problem.answer))]
        if doubts:
            first = "; ".join(doubts[:SHOWN_PROBLEMS])
            self.notes.append(f"data {name}: {len(doubts)} of {len(problems)} hold digits or TeX ({first})")

    def _reason(self, problem: Problem) -> str | None:
        check = self.checks.get(problem.verifier)
        return check(problem.answer) if check else None

    def _failed(self, problems: Sequence[Problem]) -> dict[str, str]:
        """The problems with a program for a solution whose own tests it does not pass, and why."""
        asked = [each for each in problems if each.solution is not None and each.verifier in self.isolated]
        if not asked:
            return {}
        with verification.opened_pool(self.isolated, self.workers) as pool, Meter("references") as meter:
            references = ((each, verification.item_of(each, each.solution or "")) for each in asked)
            futures = ((each, [pool.submit(item, each.verifier, each.solution)]) for each, item in references)
            failed = {}
            for problem, (verdict,) in verification.verdicts_in_order(futures, self.workers):
                meter.add()
                # A slow neighbour must not choose the data, and a verifier may have nothing to say.
                if verdict.score != 1 and verdict.status not in ("timeout", "abstained"):
                    failed[problem.id] = f"its own solution scores {verdict.score} ({verdict.status}: {verdict.reason})"
        return failed

    def try_plug_ins(
        self, sources: Mapping[str, Sequence[Problem]], further: Collection[str] = (), base: Path | None = None
    ) -> None:
        """Let every plug-in judge a few references of each source: those of its own problems or, where it is one of
        `further` (a part of the reward), of all. RecipeError where it comes to no verdict on any of a source's; a note
        where on some."""
        trials = [
            (name, key, tried)
            for name, problems in sources.items()
            for key in self.plug_ins
            if (tried := self._tried(key, [each for each in problems if key in further or each.verifier == key]))
        ]
        if not trials:
            return
        table = verification.reference_table(self.plug_ins)
        with Meter("references") as meter, verification.opened_pool(table, self.workers, base) as pool:
            for name, key, tried in trials:
                verdicts = []
                for verdict in _verdicts(pool, key, tried):
                    verdicts.append(verdict)
                    meter.add(has_failed=verdict.has_failed)
                self._judge_trial("data" if name == "data" else f"data {name}", key.partition("#")[0], verdicts)

    def _judge_trial(self, where: str, verifier: str, verdicts: Sequence[Verdict]) -> None:
        failed = sum(bool(failure_of(verdict)) for verdict in verdicts)
        if not failed:
            return
        told = (
            f"{where}: verifier {verifier} came to no verdict on {failed} of {len(verdicts)} reference answers tried: "
            f"{verification.told_failures(verdicts)}"
        )
        if failed == len(verdicts):
            raise RecipeError(
                f"{told}; mend it (r1lab audit --verifier {verifier} --dataset ... judges them all), or raise "
                f"workers.deadline (--deadline), {self.workers.deadline:g} s"
            )
        self.notes.append(told)

    def _tried(self, key: str, problems: Sequence[Problem]) -> list[Problem]:
        """The first, the last and what lies between evenly. One that isolates itself judges solutions or, where there
        are none, answers that are texts: no reference is made of what it may run."""
        if self.plug_ins[key].isolated:
            texts = [(each, each.answer if each.solution is None else each.solution) for each in problems]
            problems = [replace(each, solution=text) for each, text in texts if isinstance(text, str)]
        places = {(len(problems) - 1) * step // (TRIED_PROBLEMS - 1) for step in range(TRIED_PROBLEMS)}
        return [problems[at] for at in sorted(places)] if problems else []


def _verdicts(pool: Pool, key: str, problems: Sequence[Problem]) -> Iterator[Verdict]:
    """On the first alone, then on the others: what cannot even be made fails on all of them alike."""
    first = verification.submit_reference(pool, problems[0], key).result()
    yield first
    if not failure_of(first) or MAKING not in first.reason:
        futures = [verification.submit_reference(pool, problem, key) for problem in problems[1:]]
        yield from (future.result() for future in futures)
