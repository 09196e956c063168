"""Reinforcement learning with verifiable rewards, R1-Zero style. The commands are `r1lab.cli`, a run is `train`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r1lab.pipeline import Run
    from r1lab.study.compare import Comparison

__version__ = "0.1.0"


def compare(recipes: Sequence[dict[str, Any] | str | Path], *overrides: str, **options: Any) -> "Comparison":
    """Recipes x seeds as paired runs at one budget, compared with intervals, as `r1lab compare` does.

    `options` are `seeds`, `out`, `jobs`, `on` and `targets` of `r1lab.study.compare.compare`. RecipeError where the
    recipes are wrong or cannot be compared, and nothing is run; RunError where a run failed.
    """
    from r1lab.study.compare import compare

    return compare(recipes, *overrides, **options)


def train(recipe: dict[str, Any] | str | Path, *overrides: str, verifier: Callable | None = None) -> "Run":
    """Run a recipe (a mapping, a file, or the name of one that ships) to its end, as `r1lab train` does.

    `overrides` are `key.path=value`.

    `verifier` is a function or class that workers can import: it becomes the recipe's `verifier: module:name`.
    RecipeError (a ValueError) where the recipe is wrong, and nothing is written; RunError where the run failed.
    """
    from r1lab import names, pipeline, recipe_file

    names.require()
    raw, base = recipe_file.read(recipe, overrides)
    if verifier is not None:
        raw["verifier"] = recipe_file.path_of(verifier)
    return pipeline.train(recipe_file.resolve(raw, base))
