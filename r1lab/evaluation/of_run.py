"""What `r1lab eval RUN` takes from the folder of a run: its recipe, as its manifest holds it. Not how it is used
(`r1lab.evaluation.arguments`)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError
from r1lab.recipe import AnyStageConfig, load
from r1lab.recipe.load import Plan
from r1lab.run.folder import MANIFEST


def folder_of(model: str | None) -> Path:
    """The folder of the run that is named; of any other model the current one."""
    folder = Path(model or "")
    return folder if model and _recipe_of(folder) is not None else Path()


def _recipe_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The manifest and the recipe in it; None where it is no run's folder."""
    if (folder / "config.json").is_file() or not (folder / MANIFEST).is_file():
        return None
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest, dict(manifest["recipe"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None  # whose folder it is says who looks for the model in it


def plan_of(model: str | None, overrides: Sequence[str] = ()) -> Plan | None:
    """The run's recipe with these overrides; None where the model is no run's folder. RecipeError where this version
    does not read it."""
    folder = Path(model or "")
    known = _recipe_of(folder) if model else None
    if known is None:
        return None
    manifest, recipe = known
    base = Path(manifest.get("base") or "")
    try:
        raw, here = load.read(recipe, overrides)
        return load.resolve(raw, base if base.is_absolute() and base.is_dir() else here)
    except RecipeError as error:
        made_by = (manifest.get("packages") or {}).get("r1lab", "?")
        raise RecipeError(f"{folder}: the recipe of this run, of r1lab {made_by}, is not read here: {error}") from None


def stage_of(plan: Plan) -> AnyStageConfig:
    """The stage whose settings hold: the last one that holds out a set, else the last one."""
    return next((stage for stage in reversed(plan.stages) if stage.eval.sets), plan.stages[-1])


def own_sets(model: str | None, overrides: Sequence[str] = ()) -> list[str]:
    """Names of the run's held-out sets; none where the model is no run's folder."""
    plan = plan_of(model, overrides)
    return [] if plan is None else list(stage_of(plan).eval.sets)


def layout_of(stage: AnyStageConfig) -> dict[str, Any]:
    """How the run's own file is read, for another one: columns and the answer's format, of the first held-out set that
    is a dataset, else of the training data, and its verifier."""
    sources = [each for each in (*stage.eval.sets.values(), *stage.data.values()) if each.path is not None]
    if not sources:
        return {"verifier": stage.verifier}
    columns, answer_format = dict(sources[0].columns), sources[0].answer_format
    return {"columns": columns, "answer_format": answer_format, "verifier": sources[0].verifier or stage.verifier}
