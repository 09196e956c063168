"""One finished run as a comparison reads it: its regime, its seed and its last evaluation.

Reads folders, computes no model. Refuses a folder that another version wrote rather than misread it. Which runs may be
compared with which is decided elsewhere (`r1lab.comparison.comparable`).
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from r1lab.comparison.spent import QUANTITIES, Given, given
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation.coverage import outcomes
from r1lab.evaluation.folder import read_rows
from r1lab.evaluation.named_sets import GYM
from r1lab.evaluation.scores import by_problem, is_right
from r1lab.recipe.base import digest
from r1lab.report import runs
from r1lab.report.runs import Curves
from r1lab.rollout.verification import key_of
from r1lab.run.folder import evaluation_table
from r1lab.run.manifest import r1lab_version
from r1lab_data.names import did_you_mean
from r1lab_data.tasks import VERIFIERS


def shared_set(sets_by_run: Mapping[str, Sequence[str]], set_name: str | None, shifted: Collection[str] = ()) -> str:
    """The evaluation set that is compared: the one named, else the first that all have, of those that are not `shifted`
    where there is one. RecipeError where a run or a recipe has it not."""
    first, *others = sets_by_run.values()
    shared = [name for name in first if all(name in each for each in others)]
    if set_name in shared:
        return set_name
    if set_name is None and shared:
        return next((name for name in shared if name not in shifted), shared[0])
    said = ", ".join(f"{run}: {', '.join(sets) or 'none'}" for run, sets in sets_by_run.items())
    wanted = f"evaluation set {set_name!r} is not of all runs" if set_name else "no evaluation set is of all runs"
    close = did_you_mean(set_name or "", shared)
    raise RecipeError(f"{wanted} ({said}); give each the same eval.sets, or name one with --on{close}")


FLOPS = ("flops/rollout", "flops/score", "flops/update", "flops/judge")


@dataclass(frozen=True)
class SetEvaluation:
    """One evaluation of a run on a set."""

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
    def right_NK(self) -> np.ndarray:
        """Outcomes bool [problems, completions]."""
        return outcomes([[is_right(row) for row in group] for group in by_problem(self.rows).values()])[0]

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
    _evaluations: dict[tuple[str, int], SetEvaluation | None] = field(default_factory=dict, repr=False, compare=False)
    _best: dict[str, np.ndarray | None] = field(default_factory=dict, repr=False, compare=False)

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

    @cached_property
    def given(self) -> Given | None:
        """What it was trained on; None where its rollouts are gone."""
        return given(self.path, self._stages)

    @property
    def problems(self) -> int | None:
        """Distinct ones that it was trained on."""
        return self.given.problems if self.given else None

    def spent(self) -> dict[str, float | None]:
        """Every quantity of `r1lab.comparison.spent`; None where it is not known."""
        last = self.curves.rows[-1]
        counted = {name: last.get(f"tokens/{name}") for name in ("sampled", "trained", "evaluated")}
        shown = vars(self.given) if self.given else {}
        known = {**shown, **counted, "tokens": self.tokens, "flops": self.flops}
        return {name: known.get(name) for name in QUANTITIES}

    @property
    def seconds(self) -> float:
        """Of all steps, evaluation included."""
        return sum(self.curves.series("time/total")[1])

    @property
    def stop(self) -> Mapping[str, Any]:
        """The `stop` of the last stage that has one, which counts the whole run."""
        return next((stage["stop"] for stage in reversed(self._stages) if stage.get("stop")), {})

    @property
    def keeps_best(self) -> bool:
        """Whether its model is that of its best evaluation."""
        return any((each.get("eval") or {}).get("keep_best") for each in self._stages)

    @cached_property
    def _stages(self) -> list[dict]:
        return list(self.manifest["recipe"]["stages"])

    def points(self, name: str) -> list[tuple[float, float]]:
        """(budget tokens so far, share of right answers) of every evaluation on a set."""
        return list(zip(*self.curves.series(f"eval/{name}/avg", "at/tokens")))

    def last_evaluation(self, name: str) -> SetEvaluation:
        """The last evaluation on a set. RunError where its table is missing or damaged."""
        last = self._evaluation(name, len(self._rows(name)) - 1)
        if last is None:
            path = self._table(self._rows(name)[-1], name)
            raise RunError(f"{path}: missing or empty, the last evaluation of {self.name}; evaluate it again")
        return last

    def right_N(self, name: str, by: str = "end") -> np.ndarray | None:
        """Share of right completions of each problem, at the end or at the best evaluation; None: a table is gone."""
        if by == "end":
            return self.last_evaluation(name).right_N
        if name not in self._best:
            self._best[name] = self._best_right_N(name)
        return self._best[name]

    def _best_right_N(self, name: str) -> np.ndarray | None:
        """The best for one half of the problems is chosen by the other half, so that no problem chooses for itself."""
        try:
            tables = [runs.scores_of(self.path, row, name) for row in self._rows(name)]
        except ValueError:  # damaged
            return None
        problems = list(tables[-1])
        if any(table.keys() != tables[-1].keys() for table in tables) or len(problems) < 2:
            return None
        right_EN = np.array([[table[problem] for problem in problems] for table in tables])
        odd = np.arange(len(problems)) % 2 == 1
        best_odd, best_even = (right_EN[:, half].mean(1).argmax() for half in (odd, ~odd))
        return np.where(odd, right_EN[best_even], right_EN[best_odd])

    def first_evaluation(self, name: str) -> SetEvaluation | None:
        """The one before the first step; None where there was none, or its table is gone."""
        return self._evaluation(name, 0) if self._rows(name)[0]["at/tokens"] == 0 else None

    def _evaluation(self, name: str, at: int) -> SetEvaluation | None:
        if (name, at) not in self._evaluations:
            row = self._rows(name)[at]
            path = self._table(row, name)
            rows = read_rows(path) if path.exists() else []
            asked = self._asked(row["stage"], name)
            self._evaluations[name, at] = evaluation_of(rows, asked) if rows else None
        return self._evaluations[name, at]

    def _table(self, row: Mapping[str, Any], name: str) -> Path:
        return evaluation_table(self.path, row["stage"], int(row.get("step", 0)), name)

    def verifiers(self, name: str) -> dict[str, str]:
        """What judged a set: the verifier asked for (empty: the problems' own), and the version of each that the run
        pinned for it. What else it pinned judged training alone."""
        stage = self._rows(name)[-1]["stage"]
        asked = json.loads(self._asked(stage, name)["verifier"])
        task = str(json.loads(self._asked(stage, name)["source"]).get("task"))
        key = key_of(asked) if asked else VERIFIERS.get("gym" if task.startswith(GYM) else task, "")
        found = self.manifest["verifiers"]
        versions = {key: found[key]} if key in found else found
        pinned = {key: digest([each.get("source"), each.get("settings")]) for key, each in versions.items()}
        before = self.manifest.get("verifiers_before")  # of a run resumed with others: its rows are of several versions
        return {"asked for": key_of(asked) if asked else "", **pinned} | ({"before": digest(before)} if before else {})

    def _rows(self, name: str) -> list[Mapping[str, Any]]:
        return [row for row in self.curves.rows if f"eval/{name}/avg" in row]

    @property
    def shifted_sets(self) -> list[str]:
        """Of its sets those that the recipe says are of another distribution than training's."""
        sets = [(each.get("eval") or {}).get("sets") or {} for each in self._stages]
        marked = {name for named in sets for name, source in named.items() if source.get("shift")}
        return [name for name in self.sets if name in marked]

    @property
    def train_verifier(self) -> Mapping[str, Any] | None:
        """What replaced the verdict in training, where something did."""
        return next((said for each in self._stages if isinstance(said := each.get("train_verifier"), Mapping)), None)

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
            "source": {
                key: value for key, value in source.items() if key not in ("path", "verifier", "weight", "shift")
            },
            "verifier": source.get("verifier") or knobs.get("verifier"),
        }
        return {key: json.dumps(value, sort_keys=True) for key, value in asked.items()}


def evaluation_of(rows: Sequence[Mapping[str, Any]], asked: Mapping[str, str]) -> SetEvaluation:
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
    return SetEvaluation(tuple(groups), right_N, completions, errors, conditions, rows)


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
