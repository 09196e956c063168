"""Carry a run over the machines of a Ray cluster: servers and trainers are actors in placement groups, each of which
holds the ordinary process. Not a scheduler, which Ray is, nor what the processes do: a server is `r1lab serve`, a
trainer `r1lab train` with a launcher's environment.

A server that dies is started again, elsewhere where its machine is gone; a trainer that dies ends the run, which the
same command resumes.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from r1lab.cluster.crew import Crew, Member, how_ended, url_of
from r1lab.cluster.placement import PlacedRun, ServedModel, launcher_environments, require_room, served
from r1lab.distributed import launch
from r1lab.doctor.versions import install
from r1lab.engines.server.client import KEY_VARIABLE, PLACED_VARIABLE, SHARED_VARIABLE, Gone, ServerRefusal, Wire
from r1lab.errors import RecipeError, RunError
from r1lab.run import files, signals
from r1lab.run.folder import admit, folder, refuse_in_use
from r1lab.run.manifest import identity, r1lab_version
from r1lab.stages import check

ADDRESS_SECONDS = 30.0
"""That Ray's head may take to answer."""
START_SECONDS = 600.0
"""That servers may take to answer for the first time."""
HANDED_ON = ("R1LAB_", "HF_", "NCCL_", "GLOO_", "VLLM_", "WANDB_", "TORCH_", "TOKENIZERS_")
"""How names of variables begin that this process's children on other machines get too."""
OF_COMMAND = "r1lab: "
"""How the line begins that says why a command failed."""


def run(placement: PlacedRun, recipe: str, arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """The exit code of a run on the cluster; `arguments` are a trainer's, of `r1lab`. RecipeError before anything is
    started or written, RunError where it failed later."""
    with _joined(placement.config.address) as ray:
        path, own = _run_folder(placement)  # programs among what is checked run on the cluster, too
        admit(path, own)
        refuse_in_use(path)
        require_room(placement, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        model = served(placement)  # torch is loaded from here on
        with signals.terminable("no trainer had started"):
            return ClusterRun(ray, placement, path, recipe, model, arguments, say).whole()


def _run_folder(placement: PlacedRun) -> tuple[Path, dict[str, Any]]:
    """The run's folder and identity, once all that can be checked without its model is."""
    digests = {key: value for each in check.check(placement.plan) for key, value in each.digests.items()}
    own = identity(placement.plan, digests)
    return folder(placement.plan, own).absolute(), own


@contextmanager
def _joined(given: str | None) -> Iterator[Any]:
    """Ray, joined at an address. RecipeError where it is not installed or does not answer."""
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise RecipeError(f"--cluster: Ray is not installed; run {install('ray')}") from None
    address = given or os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _require_answer(address)
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:  # what Ray would look for by itself may be the trace of one that is gone
        address, options = "local", {**options, "include_dashboard": False}
    try:
        ray.init(address=address, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise _no_ray(address, _line(error)) from None
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise RunError(f"--cluster: Ray failed: {_line(error)}; the same command goes on from the last step") from None
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """RecipeError where Ray's head does not answer: Ray itself would try for minutes and then end this process."""
    host, _, port = address.rpartition(":")
    if address != "auto":
        if not host or "/" in address or not port.isdigit():
            raise RecipeError(f"RAY_ADDRESS: {address!r} is no address; write auto, or host:port of Ray's head")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ADDRESS_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_ray(address, _line(error)) from None
    asked = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check"]
    asked += [] if address == "auto" else ["--address", address]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=ADDRESS_SECONDS)
    except subprocess.TimeoutExpired:
        raise _no_ray(address, f"nothing within {ADDRESS_SECONDS:g} s") from None
    if done.returncode:
        raise _no_ray(address, "none runs here" if address == "auto" else "what listens there is another program")


def _no_ray(address: str, why: str) -> RecipeError:
    remedy = "start one with ray start --head, and on other machines ray start --address=HOST:PORT"
    return RecipeError(f"--cluster: no Ray answers at {address} ({why}); {remedy}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


class ClusterRun:
    """One run from its places to its end."""

    def __init__(
        self,
        ray: Any,
        placement: PlacedRun,
        path: Path,
        recipe: str,
        model: ServedModel,
        arguments: Sequence[str],
        say: Callable[[str], None],
    ):
        self.placement, self.path, self.model, self.arguments, self.say = placement, path, model, arguments, say
        self.held: list[str] = []
        """Lines of trainers that say why they failed."""
        self.ray_address = ray.get_runtime_context().gcs_address
        self.hosts = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        self.key, self.token = secrets.token_hex(16), secrets.token_hex(8)
        room = next(each for each in (path, *path.parents) if each.is_dir())
        self.nonce = room / f".r1lab-{self.token}{files.PARTIAL}"
        named = [Path.cwd(), Path(recipe).absolute(), Path(model.location)]
        self.needed = [str(each) for each in named if each.exists()]
        self.environments: Sequence[Mapping[str, str]] = ()
        given = {"hear": self.hear, "start": self.start_of, "look": self.look, "check": self.trouble}
        self.crew = Crew(ray, placement.config, placement.processes, say=say, **given)

    def whole(self) -> int:
        """Its exit code."""
        try:
            self.crew.place_all()
            for member in (*self.crew.trainers, *self.crew.servers):
                if trouble := self.trouble(member):
                    raise RecipeError(f"--cluster: {trouble}")
            self.nonce.unlink(missing_ok=True)
            self.serve()
            return self.train()
        finally:
            self.nonce.unlink(missing_ok=True)
            self.crew.close()
            if self.crew.has_died:
                self.say(f"what servers and trainers said is in {self.crew.logs}")

    def look(self) -> tuple[str, list[str]]:
        """What an actor is asked to look for: a file just written where the run's folder is, and what it needs."""
        try:
            if not self.nonce.exists():  # an actor may be reading it
                files.atomic_file(self.nonce, lambda path: path.write_text(self.token, encoding="utf-8"))
        except OSError as error:
            raise RecipeError(
                f"out: {self.nonce.parent} cannot be written ({error.strerror}); name a folder that can"
            ) from None
        return str(self.nonce), self.needed

    def trouble(self, member: Member) -> str:
        """Why a process cannot run where its actor has come to be; empty where it can."""
        place = member.there
        if place.version != r1lab_version():
            return f"{place.host} has r1lab {place.version}, this machine {r1lab_version()}; install one everywhere"
        if place.said != self.token:
            return (
                f"{place.host} does not see what is written to {self.nonce.parent}: the run's folder {self.path} must "
                "be on storage that every machine shares; set out= to such a folder"
            )
        if place.missing:
            return f"{place.host} has no {place.missing[0]}; start on storage that every machine shares"
        return ""

    def start_of(self, member: Member) -> tuple[list[str], dict[str, str]]:
        handed_on = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        secret = {KEY_VARIABLE: self.key, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
        if member.role == "server":
            threads = {"OMP_NUM_THREADS": str(self.placement.config.servers.cpus)}
            arguments = self.model.arguments(member.there.address, member.there.port, KEY_VARIABLE)
            return arguments, handed_on | threads | secret
        own = dict(self.environments[member.number]) | {PLACED_VARIABLE: ",".join(self.crew.urls)}
        own |= {"RAY_ADDRESS": self.ray_address, "OMP_NUM_THREADS": str(self.placement.config.trainers.cpus)}
        if not self.placement.config.servers.gpus and len(self.hosts) > 1:
            own[SHARED_VARIABLE] = str(self.path)
        return list(self.arguments), handed_on | own | secret

    def serve(self) -> None:
        """Start the servers, wait until all answer. RunError with the last words of one that does not."""
        crew = self.crew
        crew.urls = [url_of(member.there) for member in crew.servers]
        for member in crew.servers:
            crew.launch(member)
        self.say(f"cluster: {len(crew.servers)} servers of {self.model.location} ({self.model.kind}) start on "
                 f"{', '.join(dict.fromkeys(member.there.host for member in crew.servers))}")  # fmt: skip
        waited_for, ends = dict(zip(crew.servers, map(Wire, crew.urls))), time.monotonic() + START_SECONDS
        while waited_for:
            crew.turn()
            for member, wire in list(waited_for.items()):
                if member.poll() is not None or time.monotonic() > ends:
                    crew.has_died = True
                    raise RunError(
                        f"--cluster: {member.title} did not start; it said: {member.why or member.last_line[:300]} "
                        f"(all of it: {crew.log(member)})"
                    )
                with suppress(Gone, ServerRefusal):
                    wire.get("/health", 1.0)
                    del waited_for[member]
        crew.is_running = True

    def train(self) -> int:
        """Start the trainers and follow them to their end."""
        crew = self.crew
        nodes = list(dict.fromkeys(member.there.node for member in crew.trainers))
        crew.trainers.sort(key=lambda member: nodes.index(member.there.node))  # ranks of one machine stand together
        for number, member in enumerate(crew.trainers):
            member.number = number
        places = [member.there for member in crew.trainers]
        self.environments = launcher_environments(places, self.placement.config.trainers.gpus > 0)
        for member in crew.trainers:
            crew.launch(member)
        failed_at = None
        with launch.forwarded(crew.trainers):
            while any(member.poll() is None for member in crew.trainers):
                crew.turn()
                if failed_at is None and any(member.poll() for member in crew.trainers):
                    failed_at = time.monotonic()
                if failed_at is not None and time.monotonic() - failed_at > launch.GRACE_SECONDS:
                    break
        return self.end()

    def end(self) -> int:
        """The exit code. RunError where a trainer died: the others' lines, that somebody is gone, say less."""
        silent = [member for member in self.crew.trainers if member.poll() is None and member.is_silent]
        for member in (*self.crew.fallen, *silent):
            died = member.why or member.is_silent or (member.code or 0) < 0
            if not died:
                continue
            self.crew.has_died = True
            how = how_ended(member.code) if member.code else "is lost with its machine, or with Ray's process there"
            raise RunError(f"{member.title} {how}; the same command goes on from the last step")
        for line in self.held:
            print(line, file=sys.stderr, flush=True)
        return next((member.code for member in self.crew.fallen if member.code), 0)

    def hear(self, member: Member, stream: int, line: str) -> None:
        """Show what a trainer prints; servers have their logs."""
        if member.role == "server":
            return
        if stream == 2 and line.startswith(OF_COMMAND):
            self.held.append(line)
        else:
            print(line, file=sys.stdout if stream == 1 else sys.stderr, flush=True)
