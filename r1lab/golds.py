"""Reference answers that their verifier cannot use, found before training. Whether they are right is `r1lab audit`'s.

Asked is the built-in's own `check(answer)`; a plug-in's is not, since nothing of it runs outside a worker.
"""

from collections.abc import Mapping, Sequence

import verifiers
from data import Problem
from r1lab.errors import RecipeError

SHOWN = 5


class Golds:
    """The verifiers of a run's table, built once, and what is done with a bad gold (`error` or `drop`)."""

    def __init__(self, table: Mapping[str, verifiers.Resolved], on_bad_gold: str):
        ours = verifiers.BUILT_IN.values()
        self.checks = {key: each.build().check for key, each in table.items() if each.path in ours}
        self.on_bad_gold = on_bad_gold
        self.notes: list[str] = []
        """What was dropped, a line a source."""

    def usable(self, name: str, problems: Sequence[Problem]) -> list[Problem]:
        """The problems whose golds can be judged. RecipeError names the first others, unless they are dropped."""
        bad = [(problem, reason) for problem in problems if (reason := self._reason(problem))]
        if not bad:
            return list(problems)
        first = "; ".join(f"{problem.id}: {reason}" for problem, reason in bad[:SHOWN])
        count = f"data {name}: {len(bad)} of {len(problems)} reference answers cannot be judged"
        if self.on_bad_gold != "drop":
            raise RecipeError(f"{count} ({first}); mend them, or set on_bad_gold: drop")
        if len(bad) == len(problems):
            raise RecipeError(f"{count} ({first}); nothing is left to drop them from")
        self.notes.append(f"{count} and were dropped ({first})")
        dropped = {problem.id for problem, _ in bad}
        return [problem for problem in problems if problem.id not in dropped]

    def _reason(self, problem: Problem) -> str | None:
        check = self.checks.get(problem.verifier)
        return check(problem.answer) if check else None
