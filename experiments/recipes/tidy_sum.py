"""A preference whose truth is known, as a verifier: sums in tidy columns, and short. Not what a model has learned of
it, which the recipes `tidy_ppo`, `tidy_grpo` and `tidy_dpo` find out.

    7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632      # of 347+285: 1.0
    632                                         # 0.25: no columns
    7+5=12, 4+8=12, 3+2+1=6. Answer: 632        # 0.75: a column is wrong
"""

from dataclasses import dataclass

from r1lab_data.tasks.addition import worked_columns
from r1lab_verifiers.addition_columns import AdditionColumns
from r1lab_verifiers.verdict import Item, Verdict


@dataclass(frozen=True)
class TidySum:
    """The share of the columns and the answer that are right and in order, times how much of its length the completion
    needs: a text twice as long as the tidy one is worth half."""

    def verify(self, item: Item) -> Verdict:
        a, b = str(item.prompt).split("+")
        columns, _ = worked_columns(int(a), int(b))
        said = AdditionColumns().verify(item)
        if said.steps is None:
            return said
        right = sum(score for _, score in said.steps)
        needed = len(f"{columns}. Answer: {item.answer}")
        score = right / (columns.count(",") + 2) * min(1.0, needed / max(1, len(item.completion.strip())))
        status = "correct" if score == 1 else "partial" if score else "wrong"
        return Verdict(score, status, said.extracted)

    def check(self, answer: str | dict) -> str | None:
        """Why the gold answer cannot be used, or None."""
        return AdditionColumns().check(answer)
