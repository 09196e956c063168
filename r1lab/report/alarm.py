"""What the second verifier of a training run said, over the whole run. From metrics.jsonl alone
(`r1lab.rollout.second_opinion`)."""

from typing import NamedTuple

from r1lab.report.figures import Curves


class Alarm(NamedTuple):
    """Rollouts judged by both verifiers, and how many of them only one calls right."""

    label: str
    judged: int
    lenient: int
    """Right to the first, which pays, and not to the second."""
    strict: int


def alarm(run: Curves) -> Alarm | None:
    """None where no rollout was judged twice."""
    rows = [row for row in run.rows if row.get("second/judged")]
    count = {
        key: round(sum(row["second/judged"] * row[f"second/{key}"] for row in rows)) for key in ("lenient", "strict")
    }
    return Alarm(run.label, int(sum(row["second/judged"] for row in rows)), **count) if rows else None
