"""Names of free constants: an answer may call the C of a gold `cos x + C` K. Not for other variables."""

from itertools import permutations

from r1lab_verifiers.math.read.tree import Node, Seq, Sym, substitute, symbols

NAMES_OF = {"C": ("c", "K", "k", "A", "B", "D", "C_1", "c_1", "C_0"), "c": ("C", "C_1", "K"), "K": ("C", "k", "c")}
NAMES_OF |= {"C_1": ("c_1", "C", "c", "A", "K"), "c_1": ("C_1", "C", "c", "A"), "k": ("K", "C")}
NAMES_OF |= {"C_2": ("c_2", "B", "D"), "c_2": ("C_2", "B"), "A": ("C", "C_1", "c_1"), "B": ("C_2", "c_2")}
"""What a constant may be called instead."""


def renamed_constants(gold: Node, reading: Node) -> list[Node]:
    """The reading with its constants named as the gold names its own, in every way that the names allow."""
    wanted, given = symbols(gold), symbols(reading)
    missing, strange = sorted(wanted - given), sorted(given - wanted)
    if (
        isinstance(gold, Seq)
        or not missing
        or len(missing) != len(strange)
        or len(missing) > 2
        or wanted == set(missing)
    ):
        return []
    renamed = []
    for order in permutations(strange):
        if all(name in NAMES_OF.get(one, ()) for one, name in zip(missing, order)):
            node = reading
            for one, name in zip(missing, order):
                node = substitute(node, name, Sym(one))
            renamed.append(node)
    return renamed
