"""A run's folder: whose it is, who holds it, what it was made with. Not its stages (`pipeline`) nor its metrics.

The manifest is written atomically each time something is noted. What makes up the hash is `identity`; everything else
in it says where and with what the run was made.
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from r1lab.checkpoint import PARTIAL, atomic_file, require_space, sweep
from r1lab.errors import RecipeError, RunError
from r1lab.knobs import digest, select
from r1lab.recipe import Stage
from r1lab.recipe_file import Plan

PACKAGES = ("r1lab", "torch", "transformers", "accelerate", "datasets", "sympy", "numpy", "pyarrow", "triton", "vllm")
MANIFEST, LOCK = "manifest.json", ".lock"


@dataclass
class RunFolder:
    """An open run: locked by this process until the `open_run` block ends."""

    path: Path
    manifest: dict[str, Any]
    finished: bool = False
    """Nothing is left to do: it ended before, and no stage was given more steps or another stop since."""
    warnings: list[str] = field(default_factory=list)
    """What changed since the last start and may change rounding, a line each; also in the manifest's notes."""

    @property
    def pinned(self) -> dict[str, Any]:
        """What `auto` and defaults resolved to at the first start."""
        return self.manifest["pinned"]

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def rollouts(self, stage: str, step: int) -> Path:
        return self.path / "rollouts" / f"{stage}-{step}.parquet"

    def evaluation(self, stage: str, step: int, name: str) -> Path:
        return self.path / "eval" / f"{stage}-{step}-{name}.parquet"

    def stage_folder(self, name: str) -> Path:
        return self.path / "stages" / name

    def best(self, name: str) -> Path:
        """The stage's best model so far, where the recipe keeps it."""
        return self.path / "best" / name

    def note(self, text: str) -> None:
        """Add a line to the manifest, once."""
        if text not in self.manifest["notes"]:
            self.manifest["notes"].append(text)
            self._write()

    def resumed(self, stage: str, step: int) -> None:
        """Record that the run went on from a checkpoint."""
        self.manifest["resumed_at"].append({"stage": stage, "step": step})
        self._write()

    def finish(self) -> None:
        self.manifest["finished"] = self.finished = True
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.manifest, indent=1) + "\n"
        atomic_file(self.path / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


def identity(plan: Plan, data_digests: dict[str, str]) -> dict[str, Any]:
    """What makes two runs the same run, as plain data: the seed, result knobs, and what the data holds.

    `order` is there because the digest sorts keys, while the order of stages and of a mixture's sources counts.
    """
    made_of = {
        "seed": plan.seed,
        "order": [[stage.name, *stage.data] for stage in plan.stages],
        "stages": {stage.name: select(stage, "Result.") for stage in plan.stages},
        "data": data_digests,
    }
    return json.loads(json.dumps(made_of, default=str))  # as the manifest gives it back


def num_threads(stage: Stage) -> int:
    """CPU threads of a stage, `0: all cores` resolved to those this process may use."""
    return stage.threads or len(os.sched_getaffinity(0))


def run_hash(identity: dict[str, Any]) -> str:
    return digest(identity)


def folder(plan: Plan, identity: dict[str, Any]) -> Path:
    """`out` of the recipe, or `runs/<name>-<hash>`."""
    return plan.out or Path("runs") / f"{plan.name}-{run_hash(identity)}"


@contextmanager
def open_run(
    plan: Plan, data_digests: dict[str, str], *, verifier_versions: dict, extra: dict, needed_bytes: int = 0
) -> Iterator[RunFolder]:
    """Hold the run's folder: made anew, or resumed. Nothing is written before every refusal has passed.

    `extra` is what defaults resolved to (`pinned`): on resume the folder's values count and new keys are added.
    RecipeError where the folder is another run's or no run's, or the disk is too small; RunError where it is in use.
    A finished run is left as it is.
    """
    own = identity(plan, data_digests)
    path = folder(plan, own)
    _admit(path, own)
    require_space(path, needed_bytes, RecipeError)
    with _locked(path):
        earlier = _admit(path, own)  # once more: another process may have held it in the meantime
        sweep(path)
        run = RunFolder(path, _manifest(plan, own, verifier_versions, extra))
        if earlier is not None and earlier["finished"] and _ends(earlier) == _ends(run.manifest):
            run.manifest, run.finished = earlier, True
        else:
            if earlier is not None:
                _carry_over(run, earlier)
            run._write()
            resolved = yaml.safe_dump(run.manifest["recipe"], sort_keys=False, allow_unicode=True)
            atomic_file(path / "recipe.yaml", lambda file: file.write_text(resolved, encoding="utf-8"))
        yield run


def _admit(path: Path, own: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a run to resume, None where the folder is free for a new one; else a refusal."""
    if path.exists() and not path.is_dir():
        raise RecipeError(f"out: {path} is a file; name a folder")
    if not (path / MANIFEST).exists():
        if any(entry.name != LOCK and not entry.name.endswith(PARTIAL) for entry in path.glob("*")):
            raise RecipeError(f"out: {path} is not a run's folder (no {MANIFEST}) and not empty; name another")
        return None
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        changed = _differences(own, manifest["identity"], "here", "in the folder")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{path / MANIFEST} cannot be read ({error}); restore it or set another out=") from None
    if changed:
        more = f"; {len(changed) - 3} more" if len(changed) > 3 else ""
        raise RecipeError(
            f"{path} is the run of another recipe ({'; '.join(changed[:3])}{more}); restore these or set another out="
        )
    return manifest


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclusive while the block runs. The kernel drops the lock of a killed process."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise RecipeError(f"out: {path} cannot be written ({error.strerror}); name a folder that can") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "?"
            raise RunError(f"{path} is in use by process {holder}; wait for it, or set another out=") from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # explicitly: forked children hold the descriptor too


def _manifest(plan: Plan, own: dict[str, Any], verifier_versions: dict, extra: dict) -> dict[str, Any]:
    """Of a first start, as plain data."""
    stages = [stage.model_dump(mode="json", by_alias=True) for stage in plan.stages]
    manifest = {
        "name": plan.name,
        "hash": run_hash(own),
        "identity": own,
        "recipe": {"name": plan.name, "seed": plan.seed, "stages": stages},
        "data": own["data"],
        "verifiers": verifier_versions,
        "packages": _packages(),
        "python": platform.python_version(),
        "commit": _commit(Path(__file__).resolve().parent.parent),
        "machine": _machine(),
        "threads": {stage.name: num_threads(stage) for stage in plan.stages},
        "rounding": {stage.name: select(stage, "Rounding.") for stage in plan.stages},
        "pinned": extra,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "resumed_at": [],
        "notes": [],
        "finished": False,
    }
    return json.loads(json.dumps(manifest, default=str))


def _carry_over(run: RunFolder, earlier: dict[str, Any]) -> None:
    """Keep what the first start fixed and what was recorded since; warn of what is not as it was."""
    now = run.manifest
    run.warnings = _differences(_watched(now), _watched(earlier), "now", "before; figures may part by rounding")
    now |= {key: earlier[key] for key in ("started", "resumed_at")}
    now["pinned"] |= earlier["pinned"]
    now["notes"] = [*dict.fromkeys(earlier["notes"] + run.warnings)]


def _watched(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is not part of the run's identity and may change its bytes. Threads count as resolved, not as written."""
    written = {
        name: {key: value for key, value in knobs.items() if key != "threads"}
        for name, knobs in manifest["rounding"].items()
    }
    machine = {key: manifest["machine"][key] for key in ("cpu", "gpu")}
    others = {key: manifest[key] for key in ("threads", "packages", "verifiers", "python")}
    return {"stages": written, "machine": machine, **others}


def _ends(manifest: dict[str, Any]) -> list[list[Any]]:
    """What may be raised once a run has finished, so that it goes on."""
    return [[stage["name"], stage["steps"], stage["stop"]] for stage in manifest["recipe"]["stages"]]


def _differences(one: dict[str, Any], other: dict[str, Any], here: str, there: str) -> list[str]:
    """Lines `dotted.key: 1e-05 here, 1e-06 there`."""
    first, second = dict(_leaves(one)), dict(_leaves(other))
    return [
        f"{key}: {first.get(key, 'nothing')} {here}, {second.get(key, 'nothing')} {there}"
        for key in first | second
        if first.get(key) != second.get(key)
    ]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value below as (dotted key, JSON text)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, json.dumps(value)


def _packages() -> dict[str, str]:
    """Versions of those that are installed."""
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
