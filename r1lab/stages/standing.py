"""Where a plan's folder stands: free for a new run, a run that goes on or is finished, or refused. It is read alone
(`r1lab.run.folder` opens it).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from r1lab.errors import RecipeError
from r1lab.recipe import DatasetStageConfig, TrainStageConfig
from r1lab.run import checkpoint
from r1lab.run.folder import MANIFEST, RunFolder, admit
from r1lab.run.manifest import ends
from r1lab.run.stopping import goal_of
from r1lab.stages.prepare import Ready


@dataclass(frozen=True)
class Standing:
    """What starting a plan would do with its folder."""

    path: Path
    state: Literal["new", "resumed", "finished"]
    where: str = ""
    """Of a run that goes on: its stage and step, for people."""


def look(ready: Sequence[Ready], path: Path, identity_now: dict[str, Any]) -> Standing:
    """RecipeError or RunError where a start would be refused: another run's folder, none of a run's, a finished stage
    with another end."""
    manifest = admit(path, identity_now)
    if manifest is None:
        return Standing(path, "new")
    refuse_changed_ends(ready, path)
    now = {"recipe": {"stages": [each.stage.model_dump(mode="json", by_alias=True) for each in ready]}}
    if manifest["finished"] and ends(manifest) == ends(now):
        return Standing(path, "finished")
    run = RunFolder(path, manifest)
    places = (_place(run, each) for each in ready if not is_done(run, each))
    return Standing(path, "resumed", next(places, "at its end"))


def recorded(path: Path, sources: Sequence[str]) -> dict[str, str]:
    """Content hashes of sources that were not read now, as the run in the folder has them; none where there is none."""
    try:
        known = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["identity"]["data"]
        return {key: known[key] for key in sources if key in known}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def refuse_changed_ends(ready: Sequence[Ready], path: Path) -> None:
    """RecipeError where a finished stage that later ones started from has new steps or a new stop."""
    for ready_stage in ready[:-1]:
        record = path / "stages" / ready_stage.stage.name / "stage.json"
        if record.exists() and json.loads(record.read_text(encoding="utf-8"))["goal"] != goal_of(ready_stage.stage):
            raise RecipeError(
                f"stage {ready_stage.stage.name} is done and the next ones started from it; its steps and stop cannot "
                "change any more: restore them or set another out="
            )


def is_done(run: RunFolder, ready_stage: Ready) -> bool:
    """Whether a stage has ended, at the end that the recipe says now."""
    record = run.stage_folder(ready_stage.stage.name) / "stage.json"
    return record.exists() and json.loads(record.read_text(encoding="utf-8"))["goal"] == goal_of(ready_stage.stage)


def _place(run: RunFolder, ready_stage: Ready) -> str:
    """A stage's name and the step whose weights, or whose samples, are there."""
    stage = ready_stage.stage
    if isinstance(stage, DatasetStageConfig):
        step = next(step for step in count() if not run.rollouts(stage.name, step + 1).exists())
    else:
        found = checkpoint.listed(run.checkpoints, stage.name) if isinstance(stage, TrainStageConfig) else []
        step = found[-1][0] if found else 0
    return f"in stage {stage.name}, {f'after step {step}' if step else 'from its start'}"
