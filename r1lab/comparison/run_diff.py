"""Where two runs part: their manifests, then the first step, draw, request and token, and the layer at fault. Not which
of two recipes is better (`r1lab.comparison.compare`).

The layers in the order in which a step goes through them: `data` (which problem, its prompt, its answer), `sampling`
(how and with what seed, which tokens), `verdict`, `reward`, `advantage` (with scales and what is kept), `update` (loss,
gradient, learning rate, and the weights that later steps show). Compared bit by bit; times, evaluations and second
opinions, which decide nothing, are not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from r1lab.errors import RecipeError, RunError
from r1lab.records import Role
from r1lab.run import journal
from r1lab.run.folder import MANIFEST
from r1lab.run.manifest import differences, watched
from r1lab_data.names import file_hint

HERE, THERE = "in the first", "in the second"
REMEDY = "compare by the version that wrote it, or leave the run out"
BEFORE_UPDATE = ("update/learning_rate", "loss/value", "update/grad_norm")
"""Metrics of an update, first of all these."""
UNREAD = ("time/", "eval/", "health/", "second/", "flops/", "tokens/evaluated", "tokens/judged")
"""Metrics that say nothing of what was trained."""
SHOWN_KNOBS = 12
ROUNDING_NATS = 1e-4
"""Difference of two log-probabilities up to which rounding explains it."""


@dataclass(frozen=True)
class Parting:
    """The first place where two runs differ."""

    layer: str
    stage: str
    step: int
    what: str
    """What differs there, with both values."""
    draw: int | None = None
    index: int | None = None
    """Of the completion in its draw's group; with the draw it names the request."""
    problem_id: str | None = None
    token: int | None = None
    """Of the completion (or of the prompt, where `what` says so), counted from 0."""

    def text(self) -> str:
        place = [f"stage {self.stage}, step {self.step}"]
        place += [f"draw {self.draw}" + (f" ({self.problem_id})" if self.problem_id else "")] * (self.draw is not None)
        place += [f"request {self.index}"] * (self.index is not None)
        place += [f"token {self.token}"] * (self.token is not None)
        return f"they part in {self.layer}: {', '.join(place)}: {self.what}"


@dataclass(frozen=True)
class RunDiff:
    """Two runs beside each other."""

    runs: tuple[Path, Path]
    knobs: tuple[str, ...]
    """Differences of the manifests that change results: knobs, seed, data, verifiers."""
    surroundings: tuple[str, ...]
    """Differences that may change roundings: threads, packages, machine."""
    parting: Parting | None
    """None where all that both runs hold is equal."""
    steps: tuple[int, int]
    """Steps that each holds, all stages together."""

    def text(self) -> str:
        lines = [f"{self.runs[0]} (first) beside {self.runs[1]} (second)"]
        for name, found in (("manifest", self.knobs), ("surroundings", self.surroundings)):
            lines += [f"{name}: {line}" for line in found[:SHOWN_KNOBS]]
            lines += [f"{name}: {len(found) - SHOWN_KNOBS} more"] * (len(found) > SHOWN_KNOBS)
        if not self.knobs:
            lines.append("manifest: the same recipe, seed, data and verifiers")
        if self.parting is not None:
            return "\n".join([*lines, self.parting.text()])
        one, other = self.steps
        more = "" if one == other else f"; the {'first' if one > other else 'second'} holds {abs(one - other)} more"
        return "\n".join([*lines, f"nothing parts in the {min(one, other)} steps that both hold{more}"])

    def figures(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self), default=str))


def diff(one: Path, other: Path) -> RunDiff:
    """RecipeError where one is no run's folder, or they started from different models; RunError for a table that cannot
    be read."""
    first, second = (_manifest(folder) for folder in (one, other))
    try:
        stages = [[(each["name"], each["kind"]) for each in run["recipe"]["stages"]] for run in (first, second)]
        models = [{each["model"] for each in run["identity"]["stages"].values()} for run in (first, second)]
        knobs = differences(_results(first), _results(second), HERE, THERE)
        around = differences(_surroundings(first), _surroundings(second), HERE, THERE)
    except (LookupError, TypeError, AttributeError) as error:
        raise RunError(f"a manifest of these runs lacks {error}: another version wrote it; {REMEDY}") from None
    if models[0] != models[1]:
        named = " and ".join(", ".join(sorted(map(str, each))) for each in models)
        raise RecipeError(f"diff: these are runs of different models ({named}), which part everywhere; name two of one")
    walk = _Walk((one, other), _changed_data(first, second))
    return RunDiff((one, other), tuple(knobs), tuple(around), walk.parting(*stages), walk.steps())


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        hint = file_hint(str(folder), [Path.cwd()])
        raise RecipeError(f"diff: {folder} is no run's folder (no {MANIFEST}); name two runs{hint}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: not JSON ({error}); resume the run to repair it") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("identity"), dict):
        raise RecipeError(f"diff: {path} is no run's manifest; name the folder of a run")
    return manifest


def _results(manifest: Mapping[str, Any]) -> dict[str, Any]:
    versions = {key: {k: v for k, v in each.items() if k != "path"} for key, each in manifest["verifiers"].items()}
    return {**manifest["identity"], "verifiers": versions}


def _surroundings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in watched(dict(manifest)).items() if key != "verifiers"}


def _changed_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> set[str]:
    """Sources `<stage>/<source>` whose content differs; none where verifiers do too, which then decide a verdict."""
    if _results(first)["verifiers"] != _results(second)["verifiers"]:
        return set()
    one, other = first["identity"]["data"], second["identity"]["data"]
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


@dataclass(frozen=True)
class _Walk:
    """Goes through what both runs hold until something differs."""

    runs: tuple[Path, Path]
    changed_data: set[str]

    def steps(self) -> tuple[int, int]:
        one, other = (len(list((run / "rollouts").glob("*.parquet"))) for run in self.runs)
        return one, other

    def parting(self, first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> Parting | None:
        """The first place where they part, stage by stage in order; stages are paired by their place."""
        metrics = [_metrics(run) for run in self.runs]
        before: tuple[str, int] | None = None
        for (name, kind), (other_name, other_kind) in zip(first, second):
            if kind != other_kind:
                return Parting("data", name, 1, f"the stage is of kind {kind} {HERE}, {other_kind} {THERE}")
            step = 1
            while all(table.is_file() for table in self._tables("rollouts", name, other_name, step)):
                found = self._block(name, other_name, step, before) or self._samples(name, other_name, step, before)
                rows = [of_run.get((each, step)) for of_run, each in zip(metrics, (name, other_name))]
                if found or (found := _update(name, step, *rows)):
                    return found
                before, step = (name, step), step + 1
        return None

    def _tables(self, folder: str, name: str, other: str, step: int) -> tuple[Path, Path]:
        one, two = (run / folder / f"{each}-{step}.parquet" for run, each in zip(self.runs, (name, other)))
        return one, two

    def _block(self, name: str, other: str, step: int, before: tuple[str, int] | None) -> Parting | None:
        """The first difference of the completions of a step, draw by draw."""
        tables = [journal.whole_rows(path, REMEDY, REMEDY) for path in self._tables("rollouts", name, other, step)]
        draws = [[list(rows) for _, rows in groupby(table, key=lambda row: row["draw"])] for table in tables]
        for one, two in zip_longest(*draws):
            if one is None or two is None:
                row = (one or two or [])[0]
                what = f"the draw is only {HERE if two is None else THERE}"
                return Parting("data", name, step, what, row["draw"], problem_id=row["problem_id"])
            if found := self._draw(name, step, one, two, before):
                return found
        return None

    def _draw(
        self, name: str, step: int, one: list[dict], two: list[dict], before: tuple[str, int] | None
    ) -> Parting | None:
        for a, b in zip(one, two):
            place = {"draw": a["draw"], "problem_id": a["problem_id"], "index": a["index"]}
            if found := _of_request(a, b):
                layer, what, token = found
                if layer == "weights":
                    return _of_weights(name, step, before, what, **place, token=token)
                if layer == "verdict" and any(key.startswith(f"{name}/") for key in self.changed_data):
                    layer, what = "data", f"the problem's answer, for equal tokens are judged otherwise: {what}"
                return Parting(layer, name, step, what, **place, token=token)
        if len(one) != len(two):
            what = f"the group has {len(one)} completions {HERE}, {len(two)} {THERE}"
            return Parting("sampling", name, step, what, one[0]["draw"], problem_id=one[0]["problem_id"])
        for a, b in zip(one, two):
            for column in ("decision", "member"):
                if a[column] != b[column]:
                    what = _both(f"what the group rule decided ({column})", a[column], b[column])
                    return Parting("advantage", name, step, what, a["draw"], a["index"], a["problem_id"])
        return None

    def _samples(self, name: str, other: str, step: int, before: tuple[str, int] | None) -> Parting | None:
        """The first difference of what the completions became."""
        paths = self._tables("samples", name, other, step)
        if not all(path.is_file() for path in paths):
            return None
        for a, b in zip_longest(*(journal.sample_rows(path, REMEDY) for path in paths)):
            if a is None or b is None or any(a[key] != b[key] for key in (*journal.REQUEST[1:], "update")):
                row = a or b or {}
                what = "the updates consist of other completions"
                return Parting("advantage", name, step, what, row["draw"], row["index"])
            for column in ("old", "ref", "values"):
                if (found := _in_list(a[column], b[column])) is not None:
                    what = f"the policy's log-probabilities or values ({column}) of equal tokens {found[1]}"
                    return _of_weights(name, step, before, what, a["draw"], a["index"], None, found[0])
            for column in ("sample_role", "advantage", "returns", "scale", "left_out"):
                if (found := _in_list(a[column], b[column])) is not None:
                    return Parting(
                        "advantage", name, step, f"{column}: {found[1]}", a["draw"], a["index"], None, found[0]
                    )
        return None


def _of_weights(
    name: str,
    step: int,
    before: tuple[str, int] | None,
    what: str,
    draw: int,
    index: int,
    problem_id: str | None,
    token: int | None,
) -> Parting:
    """Equal tokens scored otherwise: the update before made other weights, though nothing of it was seen to differ. Of
    a run's first step, what samples or scores differs."""
    place = {"draw": draw, "index": index, "problem_id": problem_id, "token": token}
    if before is None:
        told = f"{what}: before any update, so that engine, precision or starting weights differ"
        return Parting("sampling", name, step, told, **place)
    stage, last = before
    told = f"the weights after it differ, as step {step} of stage {name} shows (draw {draw}, request {index}): {what}"
    return Parting("update", stage, last, told)


def _of_request(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str, int | None] | None:
    """The layer (`weights` where equal tokens are scored otherwise), what differs and at which token; None of two equal
    completions."""
    if a["problem_id"] != b["problem_id"] or a["draw"] != b["draw"]:
        return "data", _both("the problem drawn", a["problem_id"], b["problem_id"]), None
    if (found := _in_list(a["prompt_ids"], b["prompt_ids"])) is not None:
        return "data", f"the problem's prompt: from its token {found[0]} on, {found[1]}", found[0]
    for column in ("group_size", "index", "seed", *journal.SAMPLING):
        if a[column] != b[column]:
            return "sampling", _both(column, a[column], b[column]), None
    for column in ("forced_ids", "forced_role", "version"):
        if (found := _in_list(a[column], b[column])) is not None:
            return "sampling", f"{column}: {found[1]}", found[0]
    if (found := _of_tokens(a, b)) is not None:
        return found
    for column in ("finish", "text"):
        if a[column] != b[column]:
            return "sampling", _both(column, a[column], b[column]), None
    for column in ("status", "score", "extracted", "reason", "steps"):
        if a[column] != b[column]:
            return "verdict", _both(column, a[column], b[column]), None
    if (one := _verdicts(a)) != (two := _verdicts(b)):
        return "verdict", _both("of another part of the reward", one, two), None
    for column in ("parts", "reward"):
        if a[column] != b[column]:
            return "reward", _both(column, a[column], b[column]), None
    return None


def _of_tokens(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str, int | None] | None:
    """Where ids or the engine's log-probabilities first differ."""
    ids, logprobs = (_in_list(a[column], b[column]) for column in ("completion_ids", "engine_logprobs"))
    at = None if logprobs is None else logprobs[0]
    if at is not None and (ids is None or ids[0] is None or at < ids[0]):
        gap = abs(float(a["engine_logprobs"][at]) - float(b["engine_logprobs"][at]))
        size = f"by {gap:.2g} nats" + (", which rounding explains" if gap <= ROUNDING_NATS else "")
        return "weights", f"the engine's log-probabilities of equal tokens differ {size}", at
    if ids is not None:
        at = ids[0]
        is_said = at is not None and at < len(a["role"]) and a["role"][at] == Role.CONTEXT
        whose = "the environment's token" if is_said else "the token"
        return "sampling", f"{whose}: {ids[1]}; all before it, and their log-probabilities, are equal", at
    if (found := _in_list(a["role"], b["role"])) is not None:
        return "sampling", f"role: {found[1]}", found[0]
    return None


def _in_list(a: Any, b: Any) -> tuple[int | None, str] | None:
    """The first place where two columns' values differ, and both values there; None where they are equal."""
    if a is None or b is None or isinstance(a, str):
        return None if a is b or (isinstance(a, str) and a == b) else (None, _both("", a, b).removeprefix(": "))
    one, two = np.asarray(a), np.asarray(b)
    size = min(len(one), len(two))
    same = (one[:size] == two[:size]) | ((one[:size] != one[:size]) & (two[:size] != two[:size]))
    if same.all():
        return None if len(one) == len(two) else (size, f"{len(one)} tokens {HERE}, {len(two)} {THERE}")
    at = int(np.argmin(same))
    return at, f"{one[at]} {HERE}, {two[at]} {THERE}"


def _verdicts(row: Mapping[str, Any]) -> dict[str, dict]:
    further = json.loads(row["verdicts"])
    return {name: {k: v for k, v in each.items() if k != "seconds"} for name, each in further.items()}


def _both(name: str, a: Any, b: Any) -> str:
    return f"{name}: {_short(a)} {HERE}, {_short(b)} {THERE}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=lambda array: f"{len(array)} values")
    text = "nothing" if value is None else repr(text) if isinstance(value, str) else text
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-16:]}"


def _metrics(run: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows by stage and step; what cannot be read is left out."""
    path = run / "metrics.jsonl"
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            rows[str(row["stage"]), int(row["step"])] = row
        except (ValueError, LookupError, TypeError):
            continue
    return rows


def _update(name: str, step: int, one: dict[str, Any] | None, two: dict[str, Any] | None) -> Parting | None:
    """The first metric of the update that differs."""
    if one is None or two is None:
        return None
    for key in _trained(one, two):
        if one.get(key) != two.get(key):
            return Parting("update", name, step, _both(key, one.get(key), two.get(key)))
    return None


def _trained(one: dict[str, Any], two: dict[str, Any]) -> Iterator[str]:
    yield from BEFORE_UPDATE
    yield from (key for key in {**one, **two} if not key.startswith(UNREAD) and key not in ("stage", "step"))
