"""A config's file to a recipe's text and a table: what `r1lab convert` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from r1lab.conversion import configs, trl, verl
from r1lab.conversion.translation import FILL, Translation, written
from r1lab.errors import RecipeError
from r1lab_data.names import did_you_mean

Reader = Callable[[Path], dict[str, Any]]
TRAINERS: dict[str, tuple[Reader, Callable[[dict[str, Any], int | None], Translation]]] = {
    "trl": (configs.trl_config, trl.translate),
    "verl": (configs.verl_overrides, verl.translate),
}


def convert(trainer: str, path: Path, processes: int | None = None) -> tuple[str, str]:
    """(recipe as YAML, table) of a config. RecipeError in one line for one that cannot be read or cannot be a recipe.

    processes: that the config ran on, where its batch is counted by process (TRL).
    """
    if trainer not in TRAINERS:
        raise RecipeError(f"convert: {trainer!r} must be one of trl, verl{did_you_mean(trainer, TRAINERS)}")
    read, translate = TRAINERS[trainer]
    given = read(path)
    try:
        told = translate(given, processes)
        recipe = told.finished()
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:  # values of other kinds
        raise RecipeError(f"{path}: a value is of another kind than {trainer} takes: {error}") from None
    comments = [f"Made of {path.name} by r1lab convert {trainer}, which prints what differs and what is not there."]
    comments += [f"To fill in: {row.theirs}: {row.note}" for row in told.rows if row.kind == FILL]
    return written(recipe, comments), told.text()
