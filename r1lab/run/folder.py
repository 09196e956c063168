"""A run's folder: its manifest, its lock, the paths in it. Not its stages (`r1lab.pipeline`) nor its metrics.

The manifest (`r1lab.run.manifest`) is written atomically each time something is noted.
"""

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from r1lab.distributed.ranks import by_first, first, rank, together
from r1lab.errors import RecipeError, RunError
from r1lab.recipe.load import Plan
from r1lab.run.files import PARTIAL, atomic_file, require_space, sweep
from r1lab.run.manifest import describe, differences, ends, identity, r1lab_version, run_hash, version_keys, watched

MANIFEST, LOCK, EVALUATIONS = "manifest.json", ".lock", "evals"
COMPLETIONS = "completions.parquet"
"""The table of an evaluation's folder."""
NEEDED = (
    "recipe", "verifiers", "packages", "python", "machine", "threads", "rounding", "pinned", "started", "resumed_at",
    "notes", "finished",
)  # fmt: skip
"""Of a manifest, beside the identity."""
PATH_OF_VERIFIER = re.compile(r"verifiers\..+\.path: ")
"""`verifiers.math.path: nothing now, ...`; not `verifiers.math.source: ...`. Runs of 0.1 noted where a class stands."""


def evaluation_table(run: Path, stage: str, step: int, name: str) -> Path:
    """The completions of an evaluation on a set that a run made during training."""
    return run / "eval" / f"{stage}-{step}-{name}" / COMPLETIONS


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

    def samples(self, stage: str, step: int) -> Path:
        """What the step's rollouts became, beside their table."""
        return self.path / "samples" / f"{stage}-{step}.parquet"

    def evaluation(self, stage: str, step: int, name: str) -> Path:
        """The folder of an evaluation during training."""
        return evaluation_table(self.path, stage, step, name).parent

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

    def pin(self, stage: str, key: str, value: Any) -> None:
        """Fix what a default resolves to once the stage starts."""
        self.pinned[stage][key] = value
        self._write()

    def resumed(self, stage: str, step: int) -> None:
        """Record that the run went on from a checkpoint."""
        self.manifest["resumed_at"].append({"stage": stage, "step": step})
        self._write()

    def finish(self) -> None:
        self.manifest["finished"] = self.finished = True
        self._write()

    @by_first
    def _write(self) -> None:
        text = json.dumps(self.manifest, indent=1) + "\n"
        atomic_file(self.path / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


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
    run = RunFolder(folder(plan, own), describe(plan, own, verifier_versions, extra))
    with ExitStack() as stack:
        held = first(_hold, run, needed_bytes, stack)
        together(lambda: _check_same(run, held))
        yield held


def _hold(run: RunFolder, needed_bytes: int, stack: ExitStack) -> RunFolder:
    """Lock the folder until the stack is closed, and write its manifest and recipe."""
    path, identity_now = run.path, run.manifest["identity"]
    admit(path, identity_now)
    require_space(path, needed_bytes, RecipeError)
    stack.enter_context(locked(path))
    earlier = admit(path, identity_now)  # once more: another process may have held it in the meantime
    sweep(path, but=path / EVALUATIONS)  # which are locked by themselves: one may be at work
    if earlier is not None and earlier["finished"] and ends(earlier) == ends(run.manifest):
        run.manifest, run.finished = earlier, True
        return run
    if earlier is not None:
        _carry_over(run, earlier)
    run._write()
    resolved = yaml.safe_dump(run.manifest["recipe"], sort_keys=False, allow_unicode=True)
    atomic_file(path / "recipe.yaml", lambda file: file.write_text(resolved, encoding="utf-8"))
    return run


def _check_same(run: RunFolder, held: RunFolder) -> None:
    """RecipeError where this rank has another recipe or other data than rank 0, RunError where it sees another disk."""
    if run is held:
        return
    changed = differences(run.manifest["identity"], held.manifest["identity"], f"on rank {rank()}", "on rank 0")
    if changed or run.path.absolute() != held.path.absolute():
        raise RecipeError(
            f"the processes do not run the same recipe: {changed[0] if changed else run.path.absolute()}; start all of "
            "them in one folder, on the same files"
        )
    if not (held.path / MANIFEST).exists():
        raise RunError(f"rank {rank()} does not see {held.path}; set out= to a disk that every process can read")


def admit(path: Path, identity_now: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of a run to resume, None where the folder is free for a new one; else a refusal."""
    if path.exists() and not path.is_dir():
        raise RecipeError(f"out: {path} is a file; name a folder")
    if not (path / MANIFEST).exists():
        if any(entry.name != LOCK and not entry.name.endswith(PARTIAL) for entry in path.glob("*")):
            raise RecipeError(f"out: {path} is not a run's folder (no {MANIFEST}) and not empty; name another")
        return None
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        changed = differences(identity_now, manifest["identity"], "here", "in the folder")
        news, gone = version_keys(identity_now, manifest["identity"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{path / MANIFEST} cannot be read ({error}); restore it or set another out=") from None
    own = [
        line for line in changed if not line.startswith(tuple(f"{key}{end}" for key in (*news, *gone) for end in ":."))
    ]
    lost = [key for key in NEEDED if key not in manifest]
    if (changed and not own) or lost:
        raise RecipeError(_of_another_version(path, manifest, news, [*gone], lost))
    changed = own
    if changed and all(line.startswith("data.") for line in changed):
        raise RecipeError(
            f"{path} is the run of this recipe on other data, which has changed since ({'; '.join(changed[:3])}); "
            "restore the data, or set another out="
        )
    if changed:
        more = f"; {len(changed) - 3} more" if len(changed) > 3 else ""
        raise RecipeError(
            f"{path} is the run of another recipe ({'; '.join(changed[:3])}{more}); restore these or set another out="
        )
    return manifest


def _of_another_version(path: Path, manifest: dict[str, Any], news: list[str], gone: list[str], lost: list[str]) -> str:
    """One line: which versions, what they differ in, the remedy."""
    told = [f"it lacks {', '.join(news)}"] * bool(news) + [f"only it has {', '.join(gone)}"] * bool(gone)
    told += [f"its manifest lacks {', '.join(lost)}"] * bool(lost)
    theirs = f"{(manifest.get('packages') or {}).get('r1lab', '?')}, commit {str(manifest.get('commit'))[:10]}"
    age = "an older" if news or lost else "another"
    return (
        f"{path} is the run of {age} version of r1lab ({theirs}; this is {r1lab_version()}): {'; '.join(told)}; go on "
        "with that version, or start anew with another out="
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
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
            raise _in_use(path) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # explicitly: forked children hold the descriptor too


def refuse_in_use(path: Path) -> None:
    """RunError where another process holds the folder, which this one asks for only a moment."""
    with suppress(FileNotFoundError, NotADirectoryError), open(path / LOCK, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(path) from None


def _in_use(path: Path) -> RunError:
    holder = (path / LOCK).read_text(encoding="utf-8").strip() or "?"
    return RunError(f"{path} is in use by process {holder}; wait for it, or set another out=")


def _carry_over(run: RunFolder, earlier: dict[str, Any]) -> None:
    """Keep what the first start fixed and what was recorded since; warn of what is not as it was."""
    now = run.manifest
    parted = differences(watched(now), watched(earlier), "now", "before")
    run.warnings = [f"{line}; {_effect(line)}" for line in parted if not PATH_OF_VERIFIER.match(line)]
    now |= {key: earlier[key] for key in ("started", "resumed_at")}
    now["pinned"] |= earlier["pinned"]
    now["notes"] = [*dict.fromkeys(earlier["notes"] + run.warnings)]
    before = earlier.get("verifiers_before", [])  # what judged rows that are there already
    if now["verifiers"] != earlier["verifiers"]:
        before = [*before, earlier["verifiers"]]
    if before:
        now["verifiers_before"] = before


def _effect(line: str) -> str:
    """What follows of a difference `dotted.key: 1 now, 2 before`."""
    key = line.partition(":")[0]
    if key.startswith("verifiers."):
        return "verdicts may differ"
    if key == "processes" or key.endswith((".engine.urls", ".engine.replicas")):
        return "problems, requests and seeds stay the same, figures may part by rounding"
    return "figures may part by rounding"
