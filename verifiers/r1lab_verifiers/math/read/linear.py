"""Arithmetic of matrices that are written out: sums, products, multiples, transposes, determinants. No inverses."""

from collections.abc import Sequence

from r1lab_verifiers.math.read.tree import Add, Call, Matrix, Mul, Node, Seq, add, children, contains, mul, neg, rebuild

MAX_SIDE = 5
"""Rows of a determinant that is expanded."""


def has_matrix(node: Node) -> bool:
    """Whether matrix arithmetic may stand in it."""
    return contains(
        node, lambda each: isinstance(each, Matrix) or (isinstance(each, Call) and each.name == "transpose")
    )


def fold_matrices(node: Node) -> Node:
    """The node with its matrix arithmetic done, as far as shapes allow; entries are left as sums and products."""
    if not has_matrix(node):
        return node
    parts = [fold_matrices(part) for part in children(node)]
    match rebuild(node, parts) if parts else node:
        case Call("transpose", (inner,)) if (matrix := _matrix(inner)) is not None:
            return Matrix(tuple(zip(*matrix.rows)))
        case Call("det", (Matrix(rows),)) if len(rows) == len(rows[0]) <= MAX_SIDE:
            return _determinant(rows)
        case Mul(args) if any(isinstance(arg, Matrix) for arg in args):
            return _product(args)
        case Add(args) as total:
            matrices = [arg for arg in args if isinstance(arg, Matrix)]
            if len(matrices) < len(args) or len(set(map(_shape, matrices))) != 1:
                return total
            return Matrix(
                tuple(tuple(add(*cells) for cells in zip(*rows)) for rows in zip(*(m.rows for m in matrices)))
            )
        case made:
            return made


def _matrix(node: Node) -> Matrix | None:
    """A matrix, or a tuple as its one row."""
    if isinstance(node, Seq) and node.kind == "tuple":
        return Matrix((node.items,))
    return node if isinstance(node, Matrix) else None


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.rows), len(matrix.rows[0])


def _product(args: Sequence[Node]) -> Node:
    scalars = [arg for arg in args if not isinstance(arg, Matrix)]
    first, *others = [arg for arg in args if isinstance(arg, Matrix)]
    for other in others:
        if _shape(first)[1] != _shape(other)[0]:
            return Mul(tuple(args))
        columns = list(zip(*other.rows))
        first = Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in first.rows))
    if not scalars:
        return first
    return Matrix(tuple(tuple(mul(*scalars, cell) for cell in row) for row in first.rows))


def _dot(row: Sequence[Node], column: Sequence[Node]) -> Node:
    return add(*(Mul((a, b)) for a, b in zip(row, column)))


def _determinant(rows: Sequence[Sequence[Node]]) -> Node:
    """Expansion along the first row."""
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for at, cell in enumerate(rows[0]):
        minor = _determinant([[*row[:at], *row[at + 1 :]] for row in rows[1:]])
        terms.append(Mul((cell, minor)) if at % 2 == 0 else neg(Mul((cell, minor))))
    return add(*terms)
