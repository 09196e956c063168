"""What kind of answer a node is, in one word for people. Decides nothing."""

from r1lab_verifiers.math.read.tree import (
    Based,
    Choice,
    Clock,
    Matrix,
    Mul,
    Node,
    Num,
    Percent,
    Pow,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOp,
    Text,
)

NAMES = {
    Based: "number in a base",
    Choice: "choice",
    Clock: "time",
    Matrix: "matrix",
    Num: "number",
    Percent: "percent",
    Quantity: "quantity",
    Ratio: "ratio",
    SetOp: "set",
    Text: "text",
}


def kind_of(readings: tuple[Node, ...]) -> str:
    """The kind of the likeliest reading, words only where there is no other; `unreadable` where there is none."""
    if not readings:
        return "unreadable"
    return _name(next((node for node in readings if not isinstance(node, Text)), readings[0]))


def _name(node: Node) -> str:
    match node:
        case Relation(_, ops):
            return "equation" if set(ops) == {"="} else "inequality"
        case Seq("tuple", items, brackets):
            return "interval" if len(items) == 2 and brackets not in ("", "()") else "tuple"
        case Seq(kind, _, _):
            return kind
        case Mul((Num(sign), inner)) if sign == -1:
            return _name(inner)
        case Mul((Num(), Pow(Num(), Num(power)))) if power == -1:
            return "fraction"
    return NAMES.get(type(node), "expression")
