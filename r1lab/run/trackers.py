"""Rows of metrics to TensorBoard and W&B, through accelerate's trackers. Nothing of a run depends on them.

What they show is made of metrics.jsonl alone: each start of a run writes `<run>/trackers/` anew from the rows that the
file then holds and goes on from there, so that after a resume no step stands twice and none is missing, also where a
tracker was added or had failed. TensorBoard's purge_step tells a server that is watching to forget what it had read.
W&B is offline (WANDB_MODE says otherwise) and keeps one id for the run: `wandb sync` of a later start is the same run,
and where it is online the server drops the steps that it already has.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from r1lab.doctor.versions import install
from r1lab.errors import MissingHere
from r1lab.recipe.base import digest

if TYPE_CHECKING:  # a recipe is checked without torch
    from accelerate.tracking import GeneralTracker

    from r1lab.run.folder import RunFolder


def require(names: Sequence[str]) -> None:
    """MissingHere for a tracker whose package is not installed (each is the package of its name)."""
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise MissingHere(
                f"trackers: {name} is not installed; run {install('trackers')}, or leave it out"
            ) from None


class Trackers:
    """Logs every row to the trackers of its stage. One that raises is off until the next start, after one warning."""

    def __init__(self, run: RunFolder, wanted: Mapping[str, Sequence[str]], say: Callable[[str], None]):
        """`wanted` are the names by stage; `say` prints a line."""
        self.run, self.wanted, self.say = run, wanted, say
        self.names = tuple(dict.fromkeys(chain.from_iterable(wanted.values())))
        self.started: dict[str, GeneralTracker] = {}
        self.is_started = False
        self.rows = 0
        """Logged so far: the step of the next one, over all stages."""

    def follow(self, row: Mapping[str, Any]) -> None:
        """A row that metrics.jsonl already holds. With the first they start, and get the rows before it too."""
        if not self.is_started:
            self.catch_up()
        elif self.names:
            self._log(row)

    def catch_up(self) -> None:
        """Start them, unless they are, with every row of the file: the start before may have died after its last."""
        if self.is_started or not self.names:
            return
        self.is_started = True
        for name in self.names:
            self._guard(name, lambda name=name: self._start(name))
        for line in self.run.metrics.read_text(encoding="utf-8").splitlines():
            self._log(json.loads(line))

    def close(self) -> None:
        """Whatever they still hold is written."""
        for name, tracker in list(self.started.items()):
            self._guard(name, tracker.finish)

    def _start(self, name: str) -> None:
        folder = self.run.path / "trackers"
        shutil.rmtree(folder / name, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        self.started[name] = MAKE[name](folder, self.run.manifest)

    def _log(self, row: Mapping[str, Any]) -> None:
        """Its numbers; null is left out."""
        step, self.rows = self.rows, self.rows + 1
        values = {key: value for key, value in row.items() if isinstance(value, (int, float))}
        for name, tracker in list(self.started.items()):
            is_known = step < getattr(
                getattr(tracker, "tracker", None), "step", 0
            )  # to W&B's server, of an earlier start
            if name in self.wanted.get(row["stage"], ()) and not is_known:
                self._guard(name, lambda tracker=tracker: tracker.log(values, step=step))

    def _guard(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # another program's client: whatever it raises, the run goes on
            self.started.pop(name, None)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            self.say(f"warning: tracker {name} is off: {reason}; the run goes on, metrics.jsonl has every row")


def _tensorboard(folder: Path, manifest: Mapping) -> GeneralTracker:
    """Event files in `tensorboard/`, the recipe as a text of step 0."""
    from accelerate.tracking import TensorBoardTracker

    tracker = TensorBoardTracker("tensorboard", logging_dir=folder, purge_step=0)
    tracker.start()
    recipe = yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)
    tracker.log({"recipe": "".join(f"    {line}\n" for line in recipe.splitlines())}, step=0)
    return tracker


def _wandb(folder: Path, manifest: Mapping) -> GeneralTracker:
    """A run folder in `wandb/`; the id is that of the run's folder, whatever how often it was started."""
    mode = os.environ.get("WANDB_MODE", "offline")
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it takes our `verifiers` for another package and advises
    from accelerate.tracking import WandBTracker

    tracker = WandBTracker(
        manifest["name"],
        name=f"{manifest['name']}-{manifest['hash']}",
        id=digest([manifest["hash"], manifest["started"]]),
        dir=str(folder),
        mode=mode,
        resume="allow" if mode == "online" else None,
        settings={"silent": True, "console": "off"},
    )
    tracker.start()
    tracker.store_init_configuration(manifest["recipe"])
    return tracker


MAKE: dict[str, Callable[[Path, Mapping], GeneralTracker]] = {"tensorboard": _tensorboard, "wandb": _wandb}
