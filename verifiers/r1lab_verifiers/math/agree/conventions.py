"""What the rules of comparison are given and give back. Types only; the settings are explained in `Math`."""

from collections.abc import Callable
from dataclasses import dataclass
from types import NotImplementedType

from r1lab_verifiers.math.read.tree import Node


@dataclass(frozen=True)
class Conventions:
    """What notation leaves open; see the settings of `Math`. The defaults are those of the public labels."""

    percent: str = "both"
    lists: str = "unordered"
    inequality_for_interval: bool = False
    convert_units: bool = True
    tolerance: float = 0.0


Agree = Callable[[Node, Node, Conventions], bool | None]
"""`agree` itself, which rules call on members and sides: given, since its module imports theirs."""
Ruling = bool | None | NotImplementedType
"""True or False; None where numbers agree and nothing proves it; NotImplemented where the rule knows neither type."""
