"""`objective.mix`: how imitation and reinforcement share one update. Each rule gives a role's mixing weight at a step.

With `none` all roles stand under one denominator; under every other rule each role has a denominator of its own.
"""

from r1lab.objective.schedule import warm_cosine
from r1lab.objective.term import Term
from r1lab.records import Role


def none(role: Role, step: int) -> float:
    """All roles alike, under one denominator."""
    return 1.0


def const(role: Role, step: int, *, mu: float = 0.1) -> float:
    """mu on demonstrations, 1 - mu on the rest (CHORD-phi, arXiv 2508.11408)."""
    return mu if role is Role.DEMO else 1 - mu


def cos(role: Role, step: int, *, warmup: int = 0, decay: int = 200, peak: float = 0.9, valley: float = 0.05) -> float:
    """mu as `schedule.warm_cosine` of the step (1 is the first) on demonstrations, 1 - mu on the rest (CHORD-mu)."""
    return const(role, step, mu=warm_cosine(step - 1, warmup=warmup, decay=decay, peak=peak, valley=valley))


def roles(
    role: Role, step: int, *, policy: float = 1.0, demo: float = 1.0, prefix: float = 1.0, pair: float = 1.0
) -> float:
    """A constant of each role."""
    return {Role.POLICY: policy, Role.DEMO: demo, Role.PREFIX: prefix, Role.PAIR: pair}.get(role, 0.0)


MIXES = {"none": Term(none), "const": Term(const), "cos": Term(cos), "roles": Term(roles)}
