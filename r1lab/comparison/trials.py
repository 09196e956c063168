"""One finished run as a comparison reads it: its regime, its seed and its last evaluation.

Reads folders, computes no model. Refuses a folder that another version wrote rather than misread it. Which runs may be
compared with which is decided elsewhere (`r1lab.comparison.comparable`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from r1lab.errors import RecipeError, RunError
from r1lab.evaluation.folder import read_rows
from r1lab.evaluation.scores import by_problem, is_right
from r1lab.recipe.base import digest
from r1lab.report import runs
from r1lab.report.runs import Curves
from r1lab.rollout.verification import key_of
from r1lab.run.folder import evaluation_table
from r1lab.run.manifest import r1lab_version
from r1lab_data.names import did_you_mean


def shared_set(sets_by_run: Mapping[str, Sequence[str]], set_name: str | None) -> str:
    """The evaluation set that is compared: the one named, else the first that all have. RecipeError where a run or a
    recipe has it not."""
    first, *others = sets_by_run.values()
    shared = [name for name in first if all(name in each for each in others)]
    if set_name in shared or (set_name is None and shared):
        return set_name or shared[0]
    said = ", ".join(f"{run}: {', '.join(sets) or 'none'}" for run, sets in sets_by_run.items())
    wanted = f"evaluation set {set_name!r} is not of all runs" if set_name else "no evaluation set is of all runs"
    close = did_you_mean(set_name or "", shared)
    raise RecipeError(f"{wanted} ({said}); give each the same eval.sets, or name one with --on{close}")


FLOPS = ("flops/rollout", "flops/score", "flops/update")


@dataclass(frozen=True)
class LastEvaluation:
    """A run's last evaluation on a set."""

    problems: tuple[str, ...]
    """Ids, in the set's order."""
    right_N: np.ndarray
    """Share of right completions (score 1) of each problem, float64."""
    completions: int
    """Completions of a problem."""
    errors: int
    """Completions that could not be judged."""
    conditions: Mapping[str, str]
    """What must be equal for two evaluations to be one, by name: the problems, their source, how they were sampled."""
    rows: Sequence[Mapping[str, Any]]
    """The table's rows, one a completion."""

    @property
    def error_share(self) -> float:
        return self.errors / len(self.rows)


@dataclass(frozen=True)
class Trial:
    """A run of one regime at one seed."""

    regime: str
    seed: int
    path: Path
    manifest: Mapping[str, Any]
    curves: Curves
    _last_evaluations: dict[str, LastEvaluation] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.regime}, seed {self.seed}"

    @property
    def sets(self) -> list[str]:
        """Names of the evaluation sets, as recipes may name them: a folder may come from anywhere."""
        # "gsm8k"; not "../x"
        return [name for name in runs.evaluation_sets(self.curves) if re.fullmatch(r"[\w.:-]+", name)]

    @property
    def data(self) -> frozenset[str]:
        """Content hashes of what it was trained on."""
        return frozenset((self.manifest.get("data") or {}).values())

    @property
    def tokens(self) -> int:
        """Budget tokens of the whole run."""
        return int(self.curves.rows[-1]["at/tokens"])

    @property
    def flops(self) -> int:
        """Of training: sampling, scoring and updates."""
        return int(sum(max((row.get(key, 0) for row in self.curves.rows), default=0) for key in FLOPS))

    @property
    def seconds(self) -> float:
        """Of all steps, evaluation included."""
        return sum(self.curves.series("time/total")[1])

    @property
    def stop(self) -> Mapping[str, Any]:
        """The `stop` of the last stage that has one, which counts the whole run."""
        return next((stage["stop"] for stage in reversed(self._stages) if stage.get("stop")), {})

    @cached_property
    def _stages(self) -> list[dict]:
        return list(self.manifest["recipe"]["stages"])

    def points(self, name: str) -> list[tuple[float, float]]:
        """(budget tokens so far, share of right answers) of every evaluation on a set."""
        return list(zip(*self.curves.series(f"eval/{name}/avg", "at/tokens")))

    def last_evaluation(self, name: str) -> LastEvaluation:
        """The last evaluation on a set. RunError where its table is missing or damaged."""
        if name not in self._last_evaluations:
            self._last_evaluations[name] = self._last_evaluation(name)
        return self._last_evaluations[name]

    def _last_evaluation(self, name: str) -> LastEvaluation:
        row = self._last_row(name)
        path = evaluation_table(self.path, row["stage"], int(row.get("step", 0)), name)
        rows = read_rows(path) if path.exists() else []
        if not rows:
            raise RunError(f"{path}: missing or empty, the last evaluation of {self.name}; evaluate it again")
        return last_evaluation_of(rows, self._asked(row["stage"], name))

    def verifiers(self, name: str) -> dict[str, str]:
        """What judged a set: the verifier asked for (empty: the problems' own), and every version the run pinned."""
        asked = json.loads(self._asked(self._last_row(name)["stage"], name)["verifier"])
        versions = self.manifest["verifiers"].items()
        pinned = {key: digest([each.get("source"), each.get("settings")]) for key, each in versions}
        before = self.manifest.get("verifiers_before")  # of a run resumed with others: its rows are of several versions
        return {"asked for": key_of(asked) if asked else "", **pinned} | ({"before": digest(before)} if before else {})

    def _last_row(self, name: str) -> Mapping[str, Any]:
        return [row for row in self.curves.rows if f"eval/{name}/avg" in row][-1]

    def _asked(self, stage: str, name: str) -> dict[str, str]:
        """How the recipe had the set evaluated, each as JSON; the path is no part of it, its problems are."""
        knobs = next((each for each in self._stages if each.get("name") == stage), {})
        evaluation = knobs.get("eval") or {}
        source = (evaluation.get("sets") or {}).get(name) or {}
        sampling = knobs.get("sampling") or {}
        asked = {
            "temperature": evaluation.get("temperature"),
            "top_p": evaluation.get("top_p"),
            "max_new_tokens": evaluation.get("max_new_tokens") or knobs.get("max_new_tokens"),
            "stop strings": [
                sampling.get("stop") or [],
                sampling.get("stop_after") or [],
            ],  # older runs lack the second
            "source": {key: value for key, value in source.items() if key not in ("path", "verifier", "weight")},
            "verifier": source.get("verifier") or knobs.get("verifier"),
        }
        return {key: json.dumps(value, sort_keys=True) for key, value in asked.items()}


def last_evaluation_of(rows: Sequence[Mapping[str, Any]], asked: Mapping[str, str]) -> LastEvaluation:
    """The rows of an evaluation's table, taken together by problem."""
    groups = by_problem(rows)
    completions = len(rows) // len(groups)
    conditions = {
        "problems": digest([(problem, group[0]["prompt_text"]) for problem, group in groups.items()]),
        "completions a problem": str(completions),
        **{key: value for key, value in asked.items() if key != "verifier"},
    }
    right_N = np.array([sum(map(is_right, group)) / len(group) for group in groups.values()], np.float64)
    errors = sum(row["status"] == "error" for row in rows)
    return LastEvaluation(tuple(groups), right_N, completions, errors, conditions, rows)


def is_run(place: object) -> TypeGuard[str | Path]:
    """Whether an argument is a run's folder rather than a recipe."""
    return isinstance(place, str | Path) and Path(place).is_dir()


def read(folders: Sequence[Path]) -> list[Trial]:
    """Runs; recipes equal but for the seed are one regime. RecipeError for what is no run, or another version's."""
    manifests = [manifest_of(Path(folder)) for folder in folders]
    labels = _labels(manifests)
    return [trial(Path(folder), label, manifest) for folder, label, manifest in zip(folders, labels, manifests)]


def trial(folder: Path, regime: str, manifest: Mapping[str, Any] | None = None) -> Trial:
    """One run under its regime's name."""
    manifest = manifest or manifest_of(folder)
    try:
        curves = runs.read(folder, manifest, regime)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    return Trial(regime, manifest["identity"]["seed"], folder, manifest, curves)


def manifest_of(folder: Path) -> dict[str, Any]:
    """A run's manifest. RecipeError where there is none, or what another version or hand wrote."""
    try:
        manifest = runs.manifest_of(folder)
    except ValueError as error:
        raise RecipeError(str(error)) from None
    if not manifest:
        raise RecipeError(
            f"{folder} is no run's folder (no manifest.json); give a recipe, or a folder r1lab train made"
        )
    made_by = (manifest.get("packages") or {}).get("r1lab")
    if _series(made_by) != _series(r1lab_version()):
        raise RecipeError(
            f"{folder} was written by r1lab {made_by or '(no version)'}, this is {r1lab_version()}, which does not "
            f"read it; compare with r1lab {made_by or 'of its time'}, or run the recipe again"
        )
    missing = [key for key in ("name", "identity", "recipe", "verifiers", "finished") if key not in manifest]
    if missing:
        raise RecipeError(f"{folder / 'manifest.json'} lacks {', '.join(missing)}; restore it or run the recipe again")
    # "grpo-1.5"; not "a/b"
    if not re.fullmatch(r"[\w.-]+", str(manifest["name"])) or not isinstance(manifest["identity"].get("seed"), int):
        raise RecipeError(f"{folder / 'manifest.json'}: its name or seed is none a recipe can have; restore it")
    return manifest


def _series(version: str | None) -> list[str]:
    """Major and minor: what a folder's format may change with."""
    return (version or "").split(".")[:2]


def regime_of(manifest: Mapping[str, Any]) -> str:
    """Hash of what makes the regime: the run's identity without its seed."""
    return digest({key: value for key, value in manifest["identity"].items() if key != "seed"})


def _labels(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """The recipes' names; where two regimes have one, with the beginnings of their hashes."""
    hashes: dict[str, set[str]] = {}
    for manifest in manifests:
        hashes.setdefault(manifest["name"], set()).add(regime_of(manifest))
    return [
        manifest["name"] if len(hashes[manifest["name"]]) == 1 else f"{manifest['name']}-{regime_of(manifest)[:6]}"
        for manifest in manifests
    ]
