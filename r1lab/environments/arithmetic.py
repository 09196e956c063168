"""Functions of whole numbers, as tools for small models."""


def multiply(a: int, b: int) -> int:
    """Multiply two whole numbers.

    a: the first
    b: the second
    """
    return a * b


def add(a: int, b: int) -> int:
    """Add two whole numbers.

    a: the first
    b: the second
    """
    return a + b
