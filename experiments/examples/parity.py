"""A verifier of one's own in both forms: a function, and a class with settings. `own_verifier.py` trains with them."""

from dataclasses import dataclass

from r1lab_verifiers import Item, Verdict


def parity(completion: str, answer: str) -> bool:
    """Right where the last digit written is even or odd as the answer is."""
    digits = [character for character in completion if character.isdigit()]
    return bool(digits) and int(digits[-1]) % 2 == int(answer) % 2


@dataclass(frozen=True)
class Brief:
    """Right where a completion says something in at most `words` words; the verdict says why it is not."""

    words: int = 12

    def verify(self, item: Item) -> Verdict:
        count = len(item.completion.split())
        if count == 0:
            return Verdict(0.0, "no_answer", reason="nothing was said")
        return Verdict(1.0, "correct") if count <= self.words else Verdict(0.0, "wrong", reason=f"{count} words")
