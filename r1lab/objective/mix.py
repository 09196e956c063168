"""Axis 7: how imitation and reinforcement share one update. Each rule gives a role's mixing weight at a step."""

from r1lab.objective.term import Term
from r1lab.records import Role


def none(role: Role, step: int) -> float:
    """All roles alike, under one denominator."""
    return 1.0


MIXES = {"none": Term(none)}
