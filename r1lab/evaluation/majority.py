"""maj@n: whether the answer that most of a problem's completions give is right.

Answers are grouped by the verifier's own equivalence (`r1lab_verifiers.equivalence`) or, where it has none, by their
extracted text. A completion without an extracted answer has no vote; programs are not grouped at all.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future

import r1lab_verifiers as verifiers
from r1lab_verifiers.equivalence import same_as
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict

PREFIX = "same/"


def maj_at_n(votes_K: Sequence[Hashable | None], right_K: Sequence[bool]) -> float:
    """Chance that the answer with the most votes is right. Completion k votes for `votes_K[k]`, None for nothing.

    Ties are broken evenly; of answers that are one but were not all judged alike, the share judged right counts.
    0 where nobody votes.
    """
    if len(votes_K) != len(right_K):
        raise ValueError(f"{len(votes_K)} votes and {len(right_K)} verdicts: each completion has one of both")
    counts = Counter(vote for vote in votes_K if vote is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    first = [vote for vote, count in counts.items() if count == most]
    right = Counter(vote for vote, is_right in zip(votes_K, right_K) if is_right)
    return sum(right[vote] for vote in first) / (most * len(first))


class Voting:
    """Turns extracted answers into votes; worker processes decide which answers are the same."""

    def __init__(self, table: Mapping[str, verifiers.Resolved]):
        self.table = {f"{PREFIX}{key}": same for key, each in table.items() if (same := same_as(each)) is not None}
        """What the pool must hold beside the verifiers themselves."""
        self.groups = {key for key, each in table.items() if not each.isolated}

    def votes(self, pool: Pool, asked: Sequence[tuple[str, Sequence[str | None]]]) -> list[list[int | None]]:
        """For each problem (its verifier's key, its completions' extracted answers) votes: equal numbers, one answer.

        An answer joins the first one before it that is the same. One whose comparison fails is the same as none.
        """
        texts = [list(dict.fromkeys(text for text in extracted if text is not None)) for _, extracted in asked]
        firsts = [self._firsts(pool, key, each) for (key, _), each in zip(asked, texts)]
        return [
            self._numbered(each, [future and future.result() for future in first], extracted)
            if key in self.groups
            else [None] * len(extracted)
            for (key, extracted), each, first in zip(asked, texts, firsts)
        ]

    def _firsts(self, pool: Pool, key: str, texts: list[str]) -> list[Future[Verdict] | None]:
        """Of each text, the future verdict that names the first one before it which is the same."""
        name = f"{PREFIX}{key}"
        if name not in self.table or key not in self.groups:
            return [None] * len(texts)
        return [
            pool.submit(Item(text, {"texts": texts[:place]}), name, texts[0]) if place else None
            for place, text in enumerate(texts)
        ]

    def _numbered(
        self, texts: list[str], verdicts: list[Verdict | None], extracted: Sequence[str | None]
    ) -> list[int | None]:
        number: dict[str, int] = {}
        for place, (text, verdict) in enumerate(zip(texts, verdicts)):
            first = verdict.extracted if verdict is not None and verdict.score == 1.0 else None
            number[text] = place if first is None else number[texts[int(first)]]
        return [None if text is None else number[text] for text in extracted]
