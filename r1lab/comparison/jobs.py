"""Runs of a comparison, each an ordinary run in its own folder: one after the other here, or several processes at once.

Every run resumes by itself: a comparison killed anywhere goes on with the same command and the same numbers. One that
fails does not end the others. A process of its own gets one GPU, or its share of the cores where the recipe does not
say how many threads; it ends with its parent, for its standard input then ends.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console

from r1lab import pipeline
from r1lab.comparison.planned import Planned
from r1lab.errors import RecipeError, RunError, Stopped
from r1lab.run.progress import Progress
from r1lab.run.signals import terminable

FAILED, STOPPED = "failed", "stopped"


def run_all(planned: Sequence[Planned], jobs: int = 1) -> dict[str, str]:
    """Run them to their ends; why by the name of each that failed. Stopped where a signal asked for an end."""
    jobs = min(jobs, len(planned))
    said = _beside(planned, jobs) if jobs > 1 else [(each, _here(each)) for each in planned]
    return {each.name: why for each, why in said if why}


def _here(planned: Planned) -> str:
    """Run it in this process; why it failed, or nothing."""
    try:
        pipeline.train(planned.plan(), Progress(planned.name))
    except Stopped:
        raise
    except RunError as error:
        return str(error)
    return ""


def _beside(planned: Sequence[Planned], jobs: int) -> list[tuple[Planned, str]]:
    """Each in a process of its own, so many at once."""
    import torch

    num_gpus = torch.cuda.device_count()
    threads = 0 if num_gpus else max(1, len(os.sched_getaffinity(0)) // jobs)
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    children: dict[str, subprocess.Popen] = {}
    stopped = threading.Event()

    def run_one(planned: Planned) -> str:
        slot = slots.get()
        try:
            if stopped.is_set():
                return ""
            device = {"CUDA_VISIBLE_DEVICES": _device(slot, num_gpus)} if num_gpus else {}
            children[planned.name] = child = _child(planned, threads, device)
            return _outcome(child, stopped)
        finally:
            children.pop(planned.name, None)
            slots.put(slot)

    with terminable("the same command goes on from where its runs stand"), ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_one, each) for each in planned]
        try:
            said = [future.result() for future in futures]
        except BaseException:  # a signal too: no run outlives this process
            stopped.set()
            for child in list(children.values()):
                child.terminate()  # each ends after its step, and resumes from there
            raise
    if stopped.is_set():
        raise Stopped("stopped after the steps at hand; the same command goes on from here")
    return list(zip(planned, said))


def _device(slot: int, num_gpus: int) -> str:
    """The slot's GPU, of those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return allowed[slot % num_gpus] if len(allowed) >= num_gpus else str(slot % num_gpus)


def _child(planned: Planned, threads: int, device: dict[str, str]) -> subprocess.Popen:
    paths = os.pathsep.join(filter(None, sys.path))  # imports as this process finds them
    imports = {"PYTHONSAFEPATH": "1", "PYTHONPATH": paths}
    # Threads of several runs share the cores: OpenMP's must not spin while they wait.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **imports, **device}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "r1lab.comparison.jobs"]
    child = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)  # Ctrl-C is the parent's alone
    assert child.stdin is not None  # a pipe
    job = {**vars(planned), "threads": threads}
    try:
        child.stdin.write(json.dumps(job, default=str) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once, which its exit code says
    return child


def _outcome(child: subprocess.Popen, stopped: threading.Event) -> str:
    """Wait for its end; why it failed, or nothing."""
    assert child.stdin is not None and child.stdout is not None  # pipes
    said = child.stdout.read().strip().splitlines()
    code = child.wait()
    child.stdin.close()
    try:
        kind, why = json.loads(said[-1]) if said else ("", "")
    except ValueError:
        kind, why = "", ""
    if kind == STOPPED:
        stopped.set()
        return ""
    if kind == FAILED:
        return why
    return "" if code == 0 else f"its process ended with code {code}"


def main() -> int:
    """A child: one run, told on standard input; what became of it on standard output."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    threads, base = told.pop("threads"), Path(told.pop("base"))
    planned = Planned(**told, base=base)
    progress = Progress(planned.name)
    progress.console = Console(stderr=True, force_terminal=False)  # bars of several would overwrite each other
    try:
        pipeline.train(planned.plan(threads), progress)
    except (RecipeError, RunError) as error:
        print(json.dumps([STOPPED if isinstance(error, Stopped) else FAILED, str(error)]), flush=True)
        return 1
    return 0


def _die_with_parent() -> None:
    """Nothing is sent after the job, so the pipe ends only with the parent. A run may die at any moment and resume."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
