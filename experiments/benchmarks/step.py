"""Seconds of one step, and its ratio to TRL's GRPOTrainer on the same work.

    python experiments/benchmarks/step.py --model embedded|smollm2 [--engine vllm] [--json FILE]

Workers, r1lab's and TRL's, take turns in one run: first the same completions and rewards go into both and their
gradients must agree, then each steps with its own sampling, A B A B, after a step of warm-up. Each is a process of its
own that blocks on a pipe while the others run, so they share no allocator and no threads, and peak memory is a side's
own. TRL runs at the micro-batch with which a pilot was fastest. On the CPU. Rewards are drawn, the same for all.
SmolLM2 has a third side: ours in mixed precision, with the error of its log-probabilities beside it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from bars import finish, machine
from safetensors import safe_open
from step_report import PACKAGES, brief, rows_of, table
from step_work import Line, Work


@dataclass(frozen=True)
class Size:
    """What a model is timed on where the command line does not say."""

    num_problems: int
    group_size: int
    max_new_tokens: int
    micro_batch_tokens: int
    micro_batches: tuple[int, ...]
    """TRL's, in sequences."""
    pilot_steps: int
    """The last one counts."""
    repeats: int
    sides: tuple[str, ...]
    limits: dict[str, float]
    """By row."""


SMOLLM2_LIMITS = {
    "update_vs_trl": 3.0,
    "whole_step_vs_trl": 2.8,
    "peak_memory_vs_trl": 1.0,
    "mixed_whole_step_vs_trl": 4.0,
}
SIZES = {
    "embedded": Size(
        32, 16, 64, 2048, (64, 128, 512), pilot_steps=2, repeats=7, sides=("ours", "trl"),
        limits={"whole_step_vs_trl": 2.0},
    ),
    "smollm2": Size(
        8, 8, 128, 2048, (8, 16), pilot_steps=1, repeats=3, sides=("ours", "mixed", "trl"), limits=SMOLLM2_LIMITS
    ),
}  # fmt: skip


class WorkerError(Exception):
    """A worker ended; the message is the last it said."""


class Worker:
    """The other end of one side's process, which sleeps while it is not asked."""

    def __init__(self, side: str, work: Work):
        self.side, self.log = side, tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.scratch = tempfile.TemporaryDirectory()
        own = {"OMP_NUM_THREADS": str(work.threads), "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
        environment = os.environ | own | {"TMPDIR": self.scratch.name}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--side", "trl" if side == "trl" else "ours"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        self._send(asdict(replace(work, precision="bf16_autocast") if side == "mixed" else work))
        self.greeting = self._receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Closing its stdin ends it; one that is in the middle of a step is killed."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.scratch.cleanup()

    def ask(self, do: str, **message) -> dict:
        """WorkerError where it ends instead of answering."""
        self._send({"do": do, **message})
        return self._receive()

    def _send(self, message: dict) -> None:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._reason()) from None

    def _receive(self) -> dict:
        text = self.process.stdout.readline()
        if not text:
            raise WorkerError(self._reason())
        return json.loads(text)

    def _reason(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        said = self.log.read().strip().splitlines()
        return f"the worker {self.side} ended with {code}: {said[-1][:300] if said else 'it said nothing'}"


def prove(work: Work, folder: Path) -> tuple[Work, dict[str, float]]:
    """The work with its model and prompts, how far the gradients of the first update agree, and how far mixed
    precision's log-probabilities are off.

    WorkerError where the two sides did not get the same tokens or rewards.
    """
    unclipped, files = replace(work, grad_clip=0.0), [folder / "ours.safetensors", folder / "trl.safetensors"]
    with Worker("ours", unclipped) as ours:
        found = {"folder": ours.greeting["folder"], "prompts": tuple(ours.greeting["prompts"])}
        theirs = ours.ask("prove", gradients=str(files[0]))
    with Worker("trl", replace(unclipped, **found)) as trl:
        seen = trl.ask("prove", gradients=str(files[1]), completion_ids=theirs["completion_ids"])
    for key in ("prompt_ids", "rewards"):
        if seen[key] != theirs[key]:
            raise WorkerError(f"the two sides did not do the same work: their {key} differ")
    agreement = compare(*files)
    for file in files:
        file.unlink()
    off = {f"mixed_logp_error_{key}": value for key, value in theirs["mixed_logp_error"].items()}
    return replace(work, **found), agreement | off


def compare(one: Path, other: Path) -> dict[str, float]:
    """Cosine of two gradients, and the relative difference of their norms, a weight at a time in float64."""
    dot = first = second = 0.0
    with safe_open(one, "numpy") as ours, safe_open(other, "numpy") as theirs:
        if set(ours.keys()) != set(theirs.keys()):
            raise WorkerError(f"the two sides train other weights: {sorted(set(ours.keys()) ^ set(theirs.keys()))[:3]}")
        for name in ours.keys():  # noqa: SIM118
            a, b = ours.get_tensor(name).astype(np.float64), theirs.get_tensor(name).astype(np.float64)
            dot, first, second = dot + (a * b).sum(), first + (a * a).sum(), second + (b * b).sum()
    if not (first > 0 and second > 0):
        raise WorkerError("a gradient is zero: there is nothing to compare")
    return {"cosine": float(dot / np.sqrt(first * second)), "norm_error": float(abs(np.sqrt(first / second) - 1))}


def fastest(work: Work, size: Size) -> tuple[int, dict[str, float | str]]:
    """TRL's micro-batch with the fastest pilot, and the seconds of each, or why it failed."""
    tried: dict[str, float | str] = {}
    sizes = [each for each in size.micro_batches if work.num_sequences % each == 0] or [work.num_sequences]
    for micro_batch in sizes:
        try:
            with Worker("trl", replace(work, micro_batch=micro_batch)) as trl:
                tried[str(micro_batch)] = [trl.ask("step")["whole"] for _ in range(size.pilot_steps)][-1]
        except WorkerError as error:
            tried[str(micro_batch)] = str(error)
        print(f"pilot of TRL at micro-batch {micro_batch}: {tried[str(micro_batch)]}", file=sys.stderr, flush=True)
    timed = {key: value for key, value in tried.items() if isinstance(value, float)}
    if not timed:
        raise WorkerError(next(iter(tried.values())))
    return int(min(timed, key=timed.get)), tried


def alternate(work: Work, names: tuple[str, ...], repeats: int) -> dict[str, dict]:
    """All sides warmed up, then in turns: every step's figures, their medians, and the peak memory of each side."""
    sides: dict[str, dict] = {name: {"steps": []} for name in names}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, work)) for name in names}
        for turn in range(repeats + 1):
            for side, worker in workers.items():
                step = worker.ask("step")
                print(f"{'warm-up' if not turn else f'step {turn}'} {side}: {brief(step)}", file=sys.stderr, flush=True)
                if turn:
                    sides[side]["steps"].append(step)
        for side, worker in workers.items():
            sides[side] |= worker.ask("end")
    for figures in sides.values():
        steps = figures["steps"]
        figures["median"] = {key: statistics.median(step[key] for step in steps) for key in steps[0]}
    return sides


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="embedded")
    parser.add_argument("--model-folder", type=Path, help="of smollm2; default: the cache, fetched where it is absent")
    parser.add_argument("--engine", default="auto", help="of our side: auto, local, vllm")
    parser.add_argument("--micro-batch-tokens", type=int, help="of our side; default: by model")
    parser.add_argument("--trl-micro-batch", type=int, help="in sequences; default: where a pilot is fastest")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    for name in ("repeats", "problems", "group", "max-new-tokens"):
        parser.add_argument(f"--{name}", type=int, help="default: by model")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--side", choices=("ours", "trl"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    counts = (given.repeats, given.problems, given.max_new_tokens, given.micro_batch_tokens, given.trl_micro_batch)
    group = 2 if given.group is None else given.group
    if any(count is not None and count < 1 for count in counts) or group < 2 or given.threads < 0:
        parser.error(
            "repeats, problems, max-new-tokens, micro-batch-tokens and trl-micro-batch must be at least 1, group at "
            "least 2, threads at least 0"
        )
    if given.model_folder and not (given.model_folder / "config.json").is_file():
        parser.error(f"--model-folder: {str(given.model_folder)!r} has no config.json; name a Hugging Face folder")
    if not given.side and find_spec("trl") is None:
        parser.error("TRL is not installed; pip install 'r1lab[benchmark]'")
    return given


def work_of(given: argparse.Namespace, size: Size) -> Work:
    problems, group = given.problems or size.num_problems, given.group or size.group_size
    return Work(
        model=given.model,
        folder=str(given.model_folder.absolute()) if given.model_folder else "",
        num_problems=problems,
        group_size=group,
        max_new_tokens=given.max_new_tokens or size.max_new_tokens,
        steps=max(size.pilot_steps, 1 + (given.repeats or size.repeats)),
        threads=given.threads or len(os.sched_getaffinity(0)),
        grad_clip=1.0,
        micro_batch_tokens=given.micro_batch_tokens or size.micro_batch_tokens,
        engine=given.engine,
        micro_batch=next((each for each in size.micro_batches if problems * group % each == 0), problems * group),
    )


def main() -> int:
    given = arguments()
    if given.side:
        line = Line()
        side = __import__(f"step_{given.side}")
        side.serve(line, Work(**line.read()))
        return 0
    size = SIZES[given.model]
    try:
        with tempfile.TemporaryDirectory() as folder:
            work, agreement = prove(work_of(given, size), Path(folder))
        print(f"gradients: {agreement}", file=sys.stderr, flush=True)
        micro_batch, pilots = (given.trl_micro_batch, {}) if given.trl_micro_batch else fastest(work, size)
        work = replace(work, micro_batch=micro_batch)
        sides = alternate(work, size.sides, given.repeats or size.repeats)
    except WorkerError as error:
        print(f"step: {error}", file=sys.stderr)
        return 1
    task = {key: value for key, value in asdict(work).items() if key not in ("folder", "prompts")}
    rows = rows_of(agreement, sides, size.limits, {"work": task, "trl_pilots": pilots} | machine(PACKAGES))
    print(table(rows))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
