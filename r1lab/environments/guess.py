"""Guess a number: the smallest game in which a later turn must read the earlier ones.

The answer of the problem is the number. A guess is the last whole number of a turn; the world says `higher`, `lower`
or, where there is none in the range, `?`. Right after t turns pays 1 - 0.1 (t - 1).
"""

import re
from collections.abc import Mapping
from typing import Any

from r1lab.environments.protocol import Turn
from r1lab.errors import RecipeError
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

NUMBER = re.compile(r"\d+")
"""`17`, `Is it 5?`."""
MAX_DIGITS = 9
"""A longer number is out of every range; Python reads none of thousands of digits."""
COST_OF_A_TURN = 0.1


class Guess:
    """The world that knows the number."""

    role, replayable, stop_after = "user", True, ()

    def __init__(self, problem: Problem, seed: int, low: int = 1, high: int = 31):
        """low, high: the range, both in it. ValueError for an answer that is no whole number."""
        answer = str(problem.answer).strip()
        if not NUMBER.fullmatch(answer) or len(answer) > MAX_DIGITS:
            raise ValueError(f"the answer {answer[:40]!r} is no whole number of at most {MAX_DIGITS} digits")
        self.number, self.low, self.high = int(answer), low, high
        self.turns, self.is_won = 0, False

    @staticmethod
    def check(settings: Mapping[str, Any], what: str = "environment") -> None:
        """RecipeError for a range that holds nothing."""
        low, high = settings.get("low", 1), settings.get("high", 31)
        if type(low) is not int or type(high) is not int or low > high:
            raise RecipeError(f"{what}: low {low!r} and high {high!r} must be whole numbers, low <= high")

    def reset(self) -> None:
        """The prompt says all that is known at first."""

    def step(self, text: str) -> Turn:
        self.turns += 1
        found = NUMBER.findall(text)
        guess = int(found[-1]) if found and len(found[-1]) <= MAX_DIGITS else None
        if guess is None or not self.low <= guess <= self.high:
            return Turn("?", info={"failed_calls": 1})
        if guess == self.number:
            self.is_won = True
            return Turn(None, done=True, reward=self.paid())
        return Turn("higher" if guess < self.number else "lower", info={"calls": 1})

    def paid(self) -> float:
        """What winning now is worth, at least a tenth."""
        return round(max(COST_OF_A_TURN, 1 - COST_OF_A_TURN * (self.turns - 1)), 6)

    def verdict(self) -> Verdict:
        said = f"{'won' if self.is_won else 'not won'} in {self.turns} turns"
        return Verdict(1.0, "correct", str(self.turns), said) if self.is_won else Verdict(0.0, "wrong", None, said)
