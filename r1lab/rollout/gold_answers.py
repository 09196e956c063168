"""Find reference answers that their verifier cannot use, before training. Not whether they are right (`r1lab audit`).

A built-in verifier's own `check(answer)` is called; a plug-in's is not, since nothing of it runs outside a worker.
Tests of programs are run on the problem's own solution too: a completion cannot be blamed for a test that the solution
fails. Reward functions of other trainers are tried on a problem.
"""

from collections.abc import Mapping, Sequence

import r1lab_verifiers as verifiers
from r1lab.errors import RecipeError
from r1lab.recipe import WorkersConfig
from r1lab.rollout import verification
from r1lab.run.progress import Meter
from r1lab_data import Problem

SHOWN_PROBLEMS = 5


class Golds:
    """The verifiers of a run's table, built once, and what is done with a bad gold (`error` or `drop`)."""

    def __init__(self, table: Mapping[str, verifiers.Resolved], on_bad_gold: str, workers: WorkersConfig):
        ours = verifiers.BUILT_IN.values()
        self.table = table
        self.isolated, self.workers = {key: each for key, each in table.items() if each.isolated}, workers
        live = {key: each.build() for key, each in table.items() if each.path in ours}
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
