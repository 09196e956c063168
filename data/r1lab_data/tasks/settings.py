"""What a setting of a task may be: whole numbers within bounds. Not the tasks' meaning of them."""

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
