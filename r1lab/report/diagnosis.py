"""What the rules of `r1lab.health` say of a run's folder, finished or not (`r1lab diagnose`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError
from r1lab.health.monitor import HealthAlarm, StageHealth, diagnose
from r1lab.report.runs import Curves, manifest_of, read, recipe_stages
from r1lab_data.names import file_hint


@dataclass(frozen=True)
class Diagnosis:
    """A run's stages that sample, and what the rules say of each."""

    path: Path
    stages: tuple[StageHealth, ...]

    @property
    def alarms(self) -> list[HealthAlarm]:
        """Of all stages, in the order in which they fired."""
        return [alarm for stage in self.stages for alarm in stage.alarms]

    def text(self) -> str:
        """A line for each stage, one for each alarm below it."""
        if not self.stages:
            return f"{self.path}: no stage sampled anything, and the rules read samples and their rewards"
        lines = []
        for stage in self.stages:
            lines.append(f"{self.path}, stage {stage.stage}: {stage.told()}")
            lines += [f"  step {_span(alarm)}, {alarm.rule}: {alarm.text}" for alarm in stage.alarms]
        return "\n".join(lines)


def _span(alarm: HealthAlarm) -> str:
    return f"{alarm.step} to {alarm.last_step}" if alarm.last_step > alarm.step else str(alarm.step)


def diagnosed(run: Path) -> Diagnosis:
    """RecipeError where the folder is no run's, or holds no rows that can be read."""
    if not (run / "metrics.jsonl").is_file():
        hint = file_hint(str(run), [Path.cwd()])
        raise RecipeError(f"{run}: no metrics.jsonl; give the folder of a run that has done at least one step{hint}")
    try:
        manifest = manifest_of(run)
        return Diagnosis(run, tuple(of_run(read(run, manifest, run.name), manifest)))
    except ValueError as error:
        raise RecipeError(str(error)) from None


def of_run(run: Curves, manifest: Mapping[str, Any]) -> list[StageHealth]:
    """Its stages, but for the rules that the recipe silences."""
    known = [stage for stage in recipe_stages(manifest) if isinstance(stage.get("health"), dict)]
    off = {str(stage.get("name")): stage["health"].get("off") for stage in known}
    return diagnose(run.rows, {name: rules for name, rules in off.items() if isinstance(rules, list)})
