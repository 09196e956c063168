"""Compares quantities with units, percentages, ratios and numbers in a base. `agree` compares what is inside."""

from fractions import Fraction

from r1lab_verifiers.math.agree.conventions import Agree, Conventions, Ruling
from r1lab_verifiers.math.prove.value import equal
from r1lab_verifiers.math.read import units
from r1lab_verifiers.math.read.tree import Based, Node, Num, Percent, Quantity, Ratio, Relation, Seq, add, div, mul

_HUNDRED = Num(Fraction(100))


def measures(gold: Node, other: Node, conventions: Conventions, agree: Agree) -> Ruling:
    """The rule for quantities, percentages, ratios and based numbers; NotImplemented where neither is one."""
    gold, other = _total(gold), _total(other)
    match gold, other:
        case Quantity(value, unit), Quantity(given, other_unit):
            return _same_quantity(value, unit, given, other_unit, conventions, agree)
        case (Percent(), Quantity(_, unit)) | (Quantity(_, unit), Percent()) if units.measure(unit) is not None:
            return False
        case Quantity(value, _), _:
            return agree(value, other, conventions)
        case _, Quantity(given, _):
            return agree(gold, given, conventions)
        case Percent(value), Percent(given):
            return agree(value, given, conventions)
    if isinstance(gold, Relation | Seq) or isinstance(other, Relation | Seq):
        return NotImplemented
    match gold, other:
        case Percent(value), _:
            return any(agree(each, other, conventions) is True for each in _meanings(value, conventions.percent))
        case _, Percent(value):
            percent = "share" if conventions.percent == "both" and not _may_count_percent(gold) else conventions.percent
            return any(agree(gold, each, conventions) is True for each in _meanings(value, percent))
        case Based(digits, base), Based(given, other_base):
            return base == other_base and digits.lstrip("0") == given.lstrip("0")
        case Ratio(parts), Ratio(given):
            return _same_ratio(parts, given)
        case Ratio((top, bottom)), _:
            return equal(div(top, bottom), other)
        case _, Ratio((top, bottom)):
            return equal(gold, div(top, bottom))
    return False if isinstance(gold, Based | Ratio) or isinstance(other, Based) else NotImplemented


def _same_quantity(
    value: Node, unit: str, given: Node, other_unit: str, conventions: Conventions, agree: Agree
) -> Ruling:
    factor = units.conversion(unit, other_unit)
    if factor is None or (factor != 1 and not conventions.convert_units):
        return False
    return agree(value, given if factor == 1 else mul(Num(factor), given), conventions)


def _total(node: Node) -> Node:
    """`2 hours and 30 minutes` as one quantity in its first unit; anything else as it is."""
    if not isinstance(node, Seq) or node.kind != "list":
        return node
    quantities = [item for item in node.items if isinstance(item, Quantity)]
    measured = [measure for item in quantities if (measure := units.measure(item.unit)) is not None]
    if len(measured) < len(node.items) or len({dimension for _, dimension in measured}) > 1:
        return node
    if len({scale for scale, _ in measured}) < len(measured):
        return node  # 2 m and 3 m are two lengths
    first = measured[0][0]
    parts = [mul(Num(scale / first), item.value) for item, (scale, _) in zip(quantities, measured)]
    return Quantity(add(*parts), quantities[0].unit)


def _meanings(value: Node, percent: str) -> tuple[Node, ...]:
    """What `value %` may be as a number."""
    share = div(value, _HUNDRED)
    return {"both": (share, value), "share": (share,), "number": (value,)}[percent]


def _may_count_percent(gold: Node) -> bool:
    """Whether a gold without a sign may be what stands before one: 12, 12.5; not 0.5 or 1/2, which are shares."""
    return isinstance(gold, Num) and (gold.value.denominator == 1 or abs(gold.value) > 1)


def _same_ratio(parts: tuple[Node, ...], given: tuple[Node, ...]) -> bool:
    """a : b = c : d where ad = bc, and so on; 12:00 is none."""
    if len(parts) != len(given) or any(isinstance(part, Num) and part.value == 0 for part in (*parts, *given)):
        return False
    return all(equal(mul(parts[0], b), mul(given[0], a)) is True for a, b in zip(parts, given))
