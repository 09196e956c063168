"""Completions that a run's or an evaluation's folder holds, with the problems they answer. Not their judging again
(`r1lab.audit.rejudge`), nor what they say of references (`r1lab.audit.suspects`).

Tables name problems by id; the problems themselves are read anew, as the folder's recipe says where.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from r1lab.errors import RecipeError, RunError
from r1lab.evaluation import named_sets, of_run
from r1lab.evaluation.folder import read_manifest, read_rows
from r1lab.recipe import SamplingStageConfig, SourceConfig
from r1lab.recipe.load import Plan
from r1lab.records import Settled
from r1lab.rollout.problems import load_problems
from r1lab.rollout.verification import is_reward_function
from r1lab.rollout.verification import key_of as verifier_key
from r1lab.run import journal
from r1lab.run.folder import COMPLETIONS, MANIFEST
from r1lab_data import Problem
from r1lab_data.loaders import digest
from r1lab_data.names import file_hint


@dataclass(frozen=True)
class StoredStage:
    """What a stage of a run sampled."""

    stage: SamplingStageConfig
    problems: Mapping[str, Problem]
    tables: tuple[tuple[int, Path], ...]
    """Steps and their tables, in order."""
    notes: tuple[str, ...]
    """Where the data are not what they were."""

    def blocks(self) -> Iterator[tuple[int, list[Settled]]]:
        """Step by step. RunError for a table that is damaged, of an older version, or of problems the data lacks."""
        for step, path in self.tables:
            yield step, journal.read_block(path, self.problems.__getitem__)


@dataclass(frozen=True)
class StoredEvaluation:
    """What an evaluation holds."""

    name: str
    problems: Mapping[str, Problem]
    rows: tuple[dict[str, Any], ...]


def plan_of(run: Path) -> Plan:
    """RecipeError where it is no run's folder."""
    plan = of_run.plan_of(str(run))
    if plan is None:
        hint = file_hint(str(run), [Path.cwd()])
        raise RecipeError(f"{run} is no run's folder (no {MANIFEST} with a recipe); name one{hint}")
    return plan


def stages_of(run: Path, last: int | None = None) -> list[StoredStage]:
    """The stages of a run that sampled, the `last` so many steps of each. RecipeError where none did, or where the data
    are not those of the run."""
    plan, found = plan_of(run), []
    for stage in plan.stages:
        tables = _tables(run, stage.name)[-(last or 0) :]
        if tables and isinstance(stage, SamplingStageConfig):
            found.append(_stored(stage, plan, run, tables))
    if not found:
        raise RecipeError(f"{run}: holds no rollouts of an rl or reject stage; name a run that sampled")
    return found


def evaluation_of(folder: Path, set_name: str | None = None) -> StoredEvaluation:
    """An evaluation's completions. RecipeError where its set is not known any more, or is not what it was."""
    manifest = read_manifest(folder)
    if not (folder / COMPLETIONS).is_file():
        raise RecipeError(f"{folder}: is not finished; run the evaluation to its end first")
    wanted, source, base = manifest["identity"]["set"], None, Path.cwd()
    name = set_name or str(wanted["name"])
    for run in (folder.parent.parent, Path(str(manifest.get("run") or ""))):
        plan = of_run.plan_of(str(run)) if (run / MANIFEST).is_file() else None
        for stage in plan.stages if plan else ():
            if source is None and name in stage.eval.sets and plan:
                source, base = stage.eval.sets[name], plan.base
    if source is None:
        source = named_sets.source_of(name, verifier="exact")[1]
    problems = load_problems(source, str(wanted["name"]), "", base, f"--on {name}")
    known = {problem.id: problem for problem in problems}
    rows = read_rows(folder / COMPLETIONS)
    _refuse_unknown(folder, {row["problem_id"] for row in rows}, known, "--on names another set")
    asked = [replace(known[each], verifier="") for each in dict.fromkeys(row["problem_id"] for row in rows)]
    if digest(asked) != wanted["content"]:
        raise RecipeError(f"{folder}: set {name} is not what it was at the evaluation; give its data with --on")
    return StoredEvaluation(str(wanted["name"]), known, tuple(rows))


def key_of(problem: Problem) -> tuple[str, str]:
    """What tells problems of several stages apart, whose ids may be alike."""
    return problem.id, str(problem.prompt)


def is_evaluation(folder: Path) -> bool:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["kind"] == "evaluation"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _tables(run: Path, stage: str) -> list[tuple[int, Path]]:
    found = []
    for path in (run / "rollouts").glob("*.parquet"):
        name, _, step = path.stem.rpartition("-")
        if name == stage and step.isdecimal():
            found.append((int(step), path))
    return sorted(found)


def _stored(stage: SamplingStageConfig, plan: Plan, run: Path, tables: Sequence[tuple[int, Path]]) -> StoredStage:
    known: dict[str, Problem] = {}
    notes = []
    digests = json.loads((run / MANIFEST).read_text(encoding="utf-8")).get("data") or {}
    for name, source in stage.data.items():
        if source.stage is not None:
            raise RecipeError(f"{run}: stage {stage.name} learned from what stage {source.stage} made; not read here")
        problems = _load(source, name, stage, plan)
        known |= {problem.id: problem for problem in problems}
        if digests.get(f"{stage.name}/{name}") != digest(problems):
            notes.append(
                f"{run}: data {name} of stage {stage.name} is not all that it was when the run started (problems were "
                "left out then, or it has changed): answers are those of now"
            )
    ids = {row["problem_id"] for _, path in tables for row in _ids(path)}
    _refuse_unknown(run, ids, known, "restore the data of the run")
    return StoredStage(stage, known, tuple(tables), tuple(notes))


def _load(source: SourceConfig, name: str, stage: SamplingStageConfig, plan: Plan) -> list[Problem]:
    """With the row whole as `meta`, where a verifier of the stage is another trainer's reward function."""
    spec = source.verifier or stage.verifier
    judging = [spec, *getattr(stage, "reward", {}).values(), getattr(stage, "second_verifier", None)]
    is_whole = any(map(is_reward_function, judging))
    return load_problems(source, name, verifier_key(spec) if spec else "", plan.base, f"data {name}", is_whole=is_whole)


def _ids(path: Path) -> list[dict[str, Any]]:
    try:
        return journal.read_rows(path, ("problem_id",))
    except ValueError as error:
        raise RunError(str(error)) from None


def _refuse_unknown(folder: Path, ids: set[str], known: Mapping[str, Problem], remedy: str) -> None:
    if missing := sorted(ids - known.keys()):
        raise RecipeError(
            f"{folder}: {len(missing)} of {len(ids)} problems are not in the data any more, as {missing[0]!r}; {remedy}"
        )
