"""The verifier `reasoning_gym`: that package's own scorer for its tasks. Needs the extra `tasks`.

The scorers pay part of the score for an answer that merely contains the gold one, or for any answer at all; unless
`partial` is set, only their full score counts.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from r1lab_verifiers.text.region import final_region
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class Gym:
    """The problem's answer is `{task, entry}`: the task's registered name and the entry it generated."""

    partial: bool = False
    """Keep scores below 1 as they are, status `partial`; else they are 0, `wrong`."""
    preload: ClassVar[tuple[str, ...]] = ("reasoning_gym",)

    def __post_init__(self):
        if importlib.util.find_spec("reasoning_gym") is None:
            raise ValueError("verifier 'reasoning_gym' needs its package: pip install 'reasoning-gym>=0.1.25'")

    def verify(self, item: Item) -> Verdict:
        try:
            task, entry = item.answer["task"], item.answer["entry"]
        except (TypeError, KeyError):
            return Verdict(None, "error", reason="reasoning_gym: the gold answer must be a dict {task, entry}")
        answer = final_region(item.completion).strip()
        if not answer:
            return Verdict(0.0, "no_answer", reason="empty")
        score = float(_scorer(task)(answer=answer, entry=entry))
        if score >= 1.0:
            return Verdict(1.0, "correct", answer)
        if self.partial and score > 0.0:
            return Verdict(score, "partial", answer)
        return Verdict(0.0, "wrong", answer, f"scorer: {score:g}" if score else "")

    def witness(self, answer: dict) -> str:
        return f"<answer>{answer['entry']['answer']}</answer>"


@lru_cache(maxsize=256)
def _scorer(task: str) -> Any:
    import reasoning_gym

    return reasoning_gym.get_score_answer_fn(task)
