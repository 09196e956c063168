"""Compares a program's outputs with the expected ones: outside the sandbox, on text and undecoded trees.

Never runs its code. Values come as trees of `r1lab_sandbox.inside.values`: hostile, of bounded size. Nothing of unknown
size is hashed: a set or dict is looked at only once it is as large as the expected one (numbers can be made to
collide).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from r1lab_sandbox.inside import values

MAX_KEY_NODES = 2000
MAX_NUMBER_CHARACTERS = 400
MAX_PAIR_NODES = 300_000
"""Of unordered items, looked at in pairs that are equal within a tolerance at most."""
MAX_SORTED_NUMBERS = 16
HALF, FLOAT_NOISE = Decimal("0.5"), Decimal("1e-12")
"""How far from a whole number another one lies at least, and how far one is printed that was computed in floats."""
# "-12"; not "1.0"
WHOLE = re.compile(r"[-+]?\d+")
CONTAINERS = ("tuple", "set", "frozenset", "dict", "deque", "ndarray")
TRUE, FALSE, EQUAL, DIFFERENT, IS, IS_NOT, CLOSE = "true", "false", "==", "!=", "is", "is not", "close"


@dataclass(frozen=True)
class Rule:
    """How strictly outputs are compared."""

    float_tol: float | None = None
    """Absolute or relative, whichever is wider. An expected whole number is met by no other whole number."""
    unordered: bool = False
    """Lists (or lines) as multisets, at their top level."""
    is_json: bool = False
    """The expected value came out of JSON: a tuple passes for a list, a number for its text as a key, NaN for NaN."""
    is_decimal: bool = False
    """Printed numbers are compared as decimals: 1.0 is 1."""


def same_text(printed: bytes, expected: str, rule: Rule) -> bool:
    """Line by line, token by token; white space at the ends of lines and blank lines at the end do not count."""
    ours, theirs = (_lines(text) for text in (printed.decode("utf-8", "replace"), expected))
    if len(ours) != len(theirs):
        return False
    if rule.unordered:
        return Counter(ours) == Counter(theirs)
    return all(a == b or _same_line(a, b, rule) for a, b in zip(ours, theirs))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.rstrip().splitlines()]


def _same_line(a: str, b: str, rule: Rule) -> bool:
    ours, theirs = a.split(), b.split()
    return len(ours) == len(theirs) and all(x == y or _same_number(x, y, rule) for x, y in zip(ours, theirs))


def _same_number(a: str, b: str, rule: Rule) -> bool:
    if (rule.float_tol is None and not rule.is_decimal) or max(len(a), len(b)) > MAX_NUMBER_CHARACTERS:
        return False
    if "_" in a or not a.isascii():
        return False
    try:
        ours, theirs = Decimal(a), Decimal(b)
        if rule.float_tol is None or ours == theirs:
            return ours == theirs
        return _near(ours, theirs, rule.float_tol, is_whole=WHOLE.fullmatch(b) is not None)
    except (ValueError, ArithmeticError):
        return False


def _near(ours: Decimal, theirs: Decimal, tolerance: float, is_whole: bool) -> bool:
    """Within the tolerance, absolute or relative; a whole number as far as a float cannot tell it, and by no other one.

    In decimals: a float would take 1e400 for infinity, and with it every such number.
    """
    if not (ours.is_finite() and theirs.is_finite()):
        return False
    distance = abs(ours - theirs)
    if is_whole:
        is_other = ours == ours.to_integral_value()
        return not is_other and distance < HALF and distance <= max(Decimal(tolerance), FLOAT_NOISE * abs(theirs))
    return distance <= Decimal(tolerance) * max(1, abs(ours), abs(theirs))


def assertion_holds(node: object, how: str, expected: Any, rule: Rule) -> bool:
    """Whether a value (a tree) stands to the expected one as an assertion says."""
    try:
        if how in (TRUE, FALSE):
            return _is_true(node) == (how == TRUE)
        if how in (IS, IS_NOT):  # the expected one is None, True or False
            return (node is expected) == (how == IS)
        if how == DIFFERENT:
            return _array(node) is None and not same_value(node, expected, rule)
        if how == CLOSE:
            value = values.decode(node)
            return isinstance(value, int | float | complex) and expected.holds(value)
        return same_value(node, expected, rule)
    except (values.NotPlain, TypeError, ValueError, ArithmeticError):
        return False


def _array(node: object) -> list | None:
    """The nested lists of an array; it is compared item by item, so it equals no list and has no truth."""
    return _body(node, "ndarray")


def _is_true(node: object) -> bool:
    """As `bool` says, without building a container."""
    if isinstance(node, dict):
        ((tag, body),) = node.items()
        if tag == "ndarray":
            raise values.NotPlain("an array is neither true nor false")
        if tag in ("tuple", "set", "frozenset", "dict", "deque", "bytes", "bytearray"):
            return bool(body)
        node = values.decode(node)
    return bool(node)


def same_value(node: object, expected: object, rule: Rule) -> bool:
    """Equality as Python's `==` for exact builtin types, with the rule's allowances.

    May raise what `assertion_holds` catches.
    """
    if isinstance(expected, list | tuple):
        items = _sequence(node, expected, rule)
        if items is None or len(items) != len(expected):
            return False
        if rule.unordered:
            return _same_multiset(items, expected, rule)
        return all(same_value(item, item_expected, rule) for item, item_expected in zip(items, expected))
    if isinstance(expected, set | frozenset):
        items = _body(node, "set", "frozenset")
        return items is not None and len(items) == len(expected) and {_key(item) for item in items} == expected
    if isinstance(expected, dict):
        return _same_dict(_body(node, "dict"), expected, rule)
    if isinstance(node, list) or _body(node, *CONTAINERS) is not None:
        return False
    return _same_scalar(values.decode(node), expected, rule)


def _sequence(node: object, want: Sequence, rule: Rule) -> list | None:
    as_list, as_tuple = node if isinstance(node, list) else None, _body(node, "tuple")
    if rule.is_json:
        return next((each for each in (as_list, as_tuple, _array(node)) if each is not None), None)
    return as_list if isinstance(want, list) else as_tuple


def _body(node: object, *tags: str) -> list | None:
    if isinstance(node, dict) and len(node) == 1:
        ((tag, body),) = node.items()
        if tag in tags and isinstance(body, list):
            return body
    return None


def _same_multiset(items: list, want: Sequence, rule: Rule) -> bool:
    """Each expected item takes one that is the same and not yet taken; those that are plainly equal go first."""
    inner = Rule(rule.float_tol, False, rule.is_json, rule.is_decimal)
    waiting: dict[object, list] = {}
    for number, wanted_item in enumerate(want):
        waiting.setdefault(_exact(values.encode(wanted_item), rule, number), []).append(wanted_item)
    left = [item for item in items if not _taken(waiting, _exact(item, rule, None))]
    wanted = [wanted_item for group in waiting.values() for wanted_item in group]
    left.sort(key=_numbers)
    wanted.sort(key=lambda wanted_item: _numbers(values.encode(wanted_item)))
    pairs = [pair for pair in zip(left, wanted) if not same_value(*pair, inner)]
    left, nodes = [item for item, _ in pairs], 0
    for _, wanted_item in pairs:
        place = next((index for index, item in enumerate(left) if same_value(item, wanted_item, inner)), None)
        if place is None or nodes > MAX_PAIR_NODES:
            return False
        nodes += (place + 1) * _size(values.encode(wanted_item))
        del left[place]
    return True


def _numbers(node: Any) -> tuple[float, ...]:
    """The first numbers in there: what is equal within a tolerance stands close together when it is sorted by them."""
    waiting, found = [node], []
    while waiting and len(found) < MAX_SORTED_NUMBERS:
        each = waiting.pop()
        if isinstance(each, int | float):
            found.append(float(each))
        elif isinstance(each, list):
            waiting += each[MAX_SORTED_NUMBERS::-1]
        elif isinstance(each, dict):
            waiting += each.values()
    return tuple(found)


def _taken(waiting: dict[object, list], key: object) -> bool:
    """Only looks the key up: hostile keys, made to collide, never become members."""
    if not waiting.get(key):
        return False
    waiting[key].pop()
    return True


def _exact(node: object, rule: Rule, other: object) -> object:
    """What is equal for equal trees of text, numbers and lists; `other` where a tree holds anything else."""
    try:
        return _exact_key(node, rule)
    except values.NotPlain:
        return ("other", other)


def _exact_key(node: object, rule: Rule, depth: int = 0) -> object:
    if node is None or isinstance(node, str | int | float):
        return node
    body = node if isinstance(node, list) else _body(node, "tuple")
    if body is None or depth > values.MAX_DEPTH:
        raise values.NotPlain("not text, a number or a list")
    kind = "list" if rule.is_json or isinstance(node, list) else "tuple"
    return (kind, *(_exact_key(each, rule, depth + 1) for each in body))


def _same_dict(pairs: list | None, want: dict, rule: Rule) -> bool:
    if pairs is None or len(pairs) != len(want):
        return False
    inner = Rule(rule.float_tol, False, rule.is_json, rule.is_decimal)
    seen = set()
    for key_node, value in pairs:
        key = _key(key_node)
        if rule.is_json and key not in want and isinstance(key, int | float):
            key = str(key)
        if key in seen or key not in want or not same_value(value, want[key], inner):
            return False
        seen.add(key)
    return True


def _key(node: object) -> object:
    """A key or member of a set, of modest size."""
    if _size(node) > MAX_KEY_NODES:
        raise values.NotPlain("a key too large")
    return values.decode(node)


def _size(node: object) -> int:
    waiting, count = [node], 0
    while waiting and count <= MAX_KEY_NODES:
        each = waiting.pop()
        count += 1
        waiting += each if isinstance(each, list) else each.values() if isinstance(each, dict) else ()
    return count


def _same_scalar(value: Any, want: Any, rule: Rule) -> bool:
    if isinstance(want, float) and isinstance(value, float) and want != want and value != value:
        return rule.is_json
    is_numeric = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (value, want))
    if is_numeric and rule.float_tol is not None and value != want and float in (type(value), type(want)):
        return _near(Decimal(value), Decimal(want), rule.float_tol, is_whole=isinstance(want, int))
    return bool(value == want)
