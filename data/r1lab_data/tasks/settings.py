"""What a setting of a task may be: numbers within bounds, names. Not the tasks' meaning of them."""

from r1lab_data.names import did_you_mean
from r1lab_data.problem import DataError


def whole(task: str, name: str, value: object, low: int, high: int) -> int:
    """The value, if it is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"task {task}: {name} is {value!r}; give a whole number from {low} to {high}")
    return value


def switch(task: str, name: str, value: object) -> bool:
    """The value, if it is true or false."""
    if not isinstance(value, bool):
        raise DataError(f"task {task}: {name} is {value!r}; give true or false")
    return value


def one_of(task: str, name: str, value: object, allowed: tuple[str, ...]) -> str:
    """The value, if it is one of the names allowed."""
    if not isinstance(value, str) or value not in allowed:
        hint = did_you_mean(str(value), allowed)
        raise DataError(f"task {task}: {name} is {value!r}; give one of {', '.join(allowed)}{hint}")
    return value


def share(task: str, name: str, value: object) -> float:
    """The value, if it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DataError(f"task {task}: {name} is {value!r}; give a number from 0 to 1")
    return value
