"""A config's file to a recipe's text and a table: what `r1lab convert` does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from r1lab import objective
from r1lab.conversion import configs
from r1lab.conversion.porting import translated
from r1lab.conversion.translation import FILL, Translation, written
from r1lab.errors import RecipeError
from r1lab.recipe import RlStageConfig, load
from r1lab_data.names import did_you_mean

Reader = Callable[[Path], dict[str, Any]]
TRAINERS: dict[str, tuple[Reader, str]] = {
    "trl": (configs.trl_config, "TRL"), "verl": (configs.verl_overrides, "verl")
}  # fmt: skip
"""What reads a config, and the library that it is one of."""


def convert(trainer: str, path: Path, processes: int | None = None) -> tuple[str, str]:
    """(recipe as YAML, table) of a config. RecipeError in one line for one that cannot be read or cannot be a recipe.

    processes: that the config ran on, where its batch is counted by process (TRL).
    """
    if trainer not in TRAINERS:
        raise RecipeError(f"convert: {trainer!r} must be one of trl, verl{did_you_mean(trainer, TRAINERS)}")
    read, library = TRAINERS[trainer]
    given = read(path)
    try:
        told = translated(library, given, processes)
        recipe = finished(told)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    comments = [f"Made of {path.name} by r1lab convert {trainer}, which prints what differs and what is not there."]
    comments += [f"To fill in: {row.theirs}: {row.note}" for row in told.rows if row.kind == FILL]
    return written(recipe, comments), told.text()


def finished(told: Translation) -> dict:
    """The recipe, which loads. RecipeError where a value of theirs may not stand in it."""
    (stage,) = load.resolve(told.ordered()).stages
    assert isinstance(stage, RlStageConfig)
    limits = {"max_new_tokens": stage.max_new_tokens, "group_size": stage.group_size}
    objective.build(stage.objective, truncated=stage.truncated, **limits)
    return told.ordered()
