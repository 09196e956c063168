"""Go back in a run to one of its checkpoints: what lies behind it is set aside, not removed. Not how a run goes on from
its newest checkpoint (`r1lab.loop.StageCourse.resume`)."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from r1lab.errors import RecipeError
from r1lab.run import checkpoint
from r1lab.run.files import atomic_file
from r1lab.run.folder import MANIFEST, locked

ASIDE = "set_aside"


def rewind(path: Path, wanted: str) -> str:
    """Let the run at `path` go on from the checkpoint `STEP` of its last stage that has one, or `STAGE-STEP`; a line.

    RecipeError where there is no such run or checkpoint, or later stages started from the stage's end.
    """
    target(path, wanted)  # before the folder is touched
    with locked(path):
        stage, step = target(path, wanted)
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        ahead = next(each for each in manifest["recipe"]["stages"] if each["name"] == stage).get("max_staleness", 0)
        behind = list(_behind(path, stage, step, ahead))
        aside = _aside(path, f"{stage}-{step}")
        if (path / "metrics.jsonl").is_file():  # the rows behind are cut off when the run goes on
            aside.mkdir(parents=True)
            shutil.copy2(path / "metrics.jsonl", aside / "metrics.jsonl")
        for each in behind:
            place = aside / each.relative_to(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            each.rename(place)
        manifest["finished"] = False
        text = json.dumps(manifest, indent=1) + "\n"
        atomic_file(path / MANIFEST, lambda file: file.write_text(text, encoding="utf-8"))
    return f"going on from step {step} of stage {stage}; {len(behind)} files and folders behind it are in {aside}"


def target(path: Path, wanted: str) -> tuple[str, int]:
    """The stage and the step that `rewind` would go back to; RecipeError as there. Changes nothing."""
    if not (path / MANIFEST).is_file():
        raise RecipeError(f"--from-checkpoint: {path} is no run yet; leave it out at the first start")
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    names = [stage["name"] for stage in manifest["recipe"]["stages"]]
    stage, step = _found(path, names, wanted)
    later = names[names.index(stage) + 1 :]
    if any((path / "stages" / name).exists() or checkpoint.latest(path / "checkpoints", name) for name in later):
        raise RecipeError(
            f"--from-checkpoint: {wanted}: later stages started from the end of {stage}; set another out="
        )
    return stage, step


def _found(path: Path, names: list[str], wanted: str) -> tuple[str, int]:
    """The stage and the step of the checkpoint that is meant."""
    folder = path / "checkpoints"
    there = {f"{name}-{step}": (name, step) for name in names for step, _ in checkpoint.listed(folder, name)}
    # "20", "rl-20"
    meant = [key for key in there if wanted in (key, key.rpartition("-")[2])]
    if not meant:
        raise RecipeError(
            f"--from-checkpoint: {wanted}: no such checkpoint; there are: {', '.join(there) or 'none'} "
            "(checkpoint_every says how often one is made, keep_last how many are kept)"
        )
    return there[meant[-1]]


def _behind(path: Path, stage: str, step: int, ahead: int) -> Iterator[Path]:
    """What the steps after the checkpoint made: checkpoints, tables, the stage's model and the run's. What was sampled
    `ahead` so many steps at most came before it."""
    later = re.compile(rf"{re.escape(stage)}-(\d+)(\D.*)?")  # "rl-21", "rl-21.parquet", "rl-21-test"
    for folder in ("checkpoints", "rollouts", "samples", "eval"):
        for each in sorted((path / folder).glob(f"{stage}-*")):
            match = later.fullmatch(each.name)
            if match and int(match[1]) > step + ahead * (folder == "rollouts"):
                yield each
    yield from (each for each in (path / "stages" / stage, path / "model") if each.exists())


def _aside(path: Path, name: str) -> Path:
    """A folder that is not there yet."""
    number = 1
    while (path / ASIDE / f"{name}.{number}").exists():
        number += 1
    return path / ASIDE / f"{name}.{number}"
