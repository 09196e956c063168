"""The manifest of a run, as plain data: its identity, the software and the machine. Writes nothing
(`r1lab.run.folder`)."""

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

from r1lab.distributed import ranks
from r1lab.recipe import AnyStageConfig
from r1lab.recipe.base import RESULT, ROUNDING, Config, digest, select
from r1lab.recipe.load import KIND_OF_STAGE, Plan
from r1lab_data.files import without_secrets

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or where packages are installed."""
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "sympy", "numpy", "pyarrow", "triton", "vllm")


def identity(plan: Plan, data_digests: dict[str, str]) -> dict[str, Any]:
    """What makes two runs the same run, as plain data: the seed, result knobs, and what the data holds.

    `order` is there because the digest sorts keys, while the order of stages and of a mixture's sources counts.
    """
    made_of = {
        "seed": plan.seed,
        "order": [[stage.name, *stage.data] for stage in plan.stages],
        "stages": {stage.name: select(stage, RESULT) for stage in plan.stages},
        "data": data_digests,
    }
    return json.loads(json.dumps(made_of, default=str))  # as the manifest gives it back


def num_threads(stage: AnyStageConfig) -> int:
    """CPU threads of a stage, `0: all cores` resolved to those this process may use, shared with others of the run."""
    return stage.threads or max(1, len(os.sched_getaffinity(0)) // ranks.neighbours())


def run_hash(identity: dict[str, Any]) -> str:
    return digest(identity)


def describe(plan: Plan, identity_now: dict[str, Any], verifier_versions: dict, extra: dict) -> dict[str, Any]:
    """The manifest of a first start, as plain data."""
    stages = without_secrets([stage.model_dump(mode="json", by_alias=True) for stage in plan.stages])
    manifest = {
        "name": plan.name,
        "hash": run_hash(identity_now),
        "identity": identity_now,
        "recipe": {"name": plan.name, "seed": plan.seed, "stages": stages},
        "base": str(plan.base.absolute()),
        "data": identity_now["data"],
        "verifiers": verifier_versions,
        **surroundings(),
        "processes": ranks.size(),
        "threads": {stage.name: num_threads(stage) for stage in plan.stages},
        "rounding": {stage.name: select(stage, ROUNDING) for stage in plan.stages},
        "pinned": extra,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "resumed_at": [],
        "notes": [],
        "finished": False,
    }
    return json.loads(json.dumps(manifest, default=str))


def watched(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is not part of the run's identity and may change its bytes. Threads count as resolved, not as written."""
    written = {
        name: {key: value for key, value in knobs.items() if key != "threads"}
        for name, knobs in manifest["rounding"].items()
    }
    machine = {key: manifest["machine"][key] for key in ("cpu", "gpu")}
    others = {key: manifest[key] for key in ("threads", "packages", "verifiers", "python")}
    return {"stages": written, "machine": machine, "processes": manifest.get("processes", 1), **others}


def ends(manifest: dict[str, Any]) -> list[list[Any]]:
    """Where the stages end, which may be raised once a run has finished, so that it goes on."""
    stages = manifest["recipe"]["stages"]
    stops = [{key: value for key, value in stage["stop"].items() if value is not None} for stage in stages]
    return [[stage["name"], stage["steps"], stage.get("epochs"), stop] for stage, stop in zip(stages, stops)]


def differences(one: dict[str, Any], other: dict[str, Any], here: str, there: str) -> list[str]:
    """Lines `dotted.key: 1e-05 here, 1e-06 there`."""
    first, second = dict(_leaves(one)), dict(_leaves(other))
    return [
        f"{key}: {first.get(key, 'nothing')} {here}, {second.get(key, 'nothing')} {there}"
        for key in first | second
        if first.get(key) != second.get(key)
    ]


def version_keys(one: dict[str, Any], other: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Dotted keys of the knobs that `one` of two identities has alone, and those that the `other` has alone: different
    versions of this program wrote them, for an identity holds every knob that its version knows."""
    alone: tuple[list[str], list[str]] = ([], [])
    for name, stage in one["stages"].items():
        there = other["stages"].get(name)
        if isinstance(there, dict) and there.get("kind") == stage["kind"]:
            for key, is_in_one in _unshared(stage, there, KIND_OF_STAGE[stage["kind"]], f"stages.{name}"):
                alone[not is_in_one].append(key)
    return alone


def _unshared(one: Any, other: Any, kind: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Keys that one of two dumps of a value of this type lacks, and whether the first has them; keys of what is no
    model, as the settings of an objective, are no knobs."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return
    if isinstance(kind, type) and issubclass(kind, Config):
        kinds = {name.rstrip("_"): field.annotation for name, field in kind.model_fields.items()}
        for key in one | other:
            if key in one and key in other:
                yield from _unshared(one[key], other[key], kinds.get(key), f"{path}.{key}")
            else:
                yield f"{path}.{key}", key in one
    elif get_origin(kind) is dict:
        for name in one.keys() & other.keys():
            yield from _unshared(one[name], other[name], get_args(kind)[1], f"{path}.{name}")
    else:
        for each in get_args(kind):  # of `LoraConfig | None` the first
            if isinstance(each, type) and issubclass(each, Config):
                yield from _unshared(one, other, each, path)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value below as (dotted key, JSON text)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(value)


def surroundings() -> dict[str, Any]:
    """Software and machine that something is made with: versions, commit, hardware."""
    return {
        "packages": {"r1lab": r1lab_version(), **_packages()},
        "python": platform.python_version(),
        "commit": _commit(ROOT),
        "machine": _machine(),
    }


def r1lab_version() -> str:
    """Of the checkout this runs from, or of the installed wheel."""
    project = ROOT / "pyproject.toml"  # an editable install's metadata are those of the day it was made
    if project.is_file():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return importlib.metadata.version("r1lab")


@functools.cache
def _packages() -> dict[str, str]:
    """Versions of the packages that are installed, as this process found them first."""
    versions = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _commit(root: Path) -> str | None:
    """The checkout's commit, `-dirty` where files differ from it; None where r1lab does not run from a checkout."""
    if not (root / ".git").exists():
        return None
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _machine() -> dict[str, Any]:
    import torch

    cpu = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }
