"""The verifier `format`: the completion has the asked-for form. Says nothing about whether the answer is right."""

import re
from dataclasses import dataclass
from typing import ClassVar

from r1lab_verifiers.verdict import Item, Verdict

# "<think>a</think> <answer>b</answer>"; not "<think>a</think> so <answer>b</answer>"
_THINK_ANSWER = re.compile(r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Format:
    """1 for `<think>...</think> <answer>...</answer>`: each tag once, neither part blank, nothing around; else 0."""

    pattern: str | None = None
    """A regular expression that the whole completion must match instead; `.` matches newlines too."""
    needs_answer: ClassVar[bool] = False

    def __post_init__(self):
        try:
            re.compile(self.pattern or "", re.DOTALL)
        except (re.error, TypeError) as error:
            raise ValueError(f"format: {self.pattern!r} is not a pattern: {error}") from error

    def verify(self, item: Item) -> Verdict:
        if self.pattern is not None:
            fits = re.fullmatch(self.pattern, item.completion, re.DOTALL) is not None
            return Verdict(1.0, "correct") if fits else Verdict(0.0, "wrong", reason="does not match the pattern")
        counts = {tag: item.completion.count(tag) for tag in _TAGS}
        if set(counts.values()) != {1}:
            return Verdict(0.0, "wrong", reason=", ".join(f"{tag} {count} times" for tag, count in counts.items()))
        match = _THINK_ANSWER.fullmatch(item.completion)
        if match is None:
            return Verdict(0.0, "wrong", reason="tags out of order, or text outside them")
        if not all(part.strip() for part in match.groups()):
            return Verdict(0.0, "wrong", reason="a blank part")
        return Verdict(1.0, "correct")

    def witness(self, answer: str | dict) -> str:
        return f"<think>{answer}</think> <answer>{answer}</answer>" if self.pattern is None else str(answer)
