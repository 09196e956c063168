"""Try packages and kernel features in a process of its own each, so that a crash there is an answer.

Not a sandbox: the packages tried are the user's own. Functions of `PROBES` run in the child and may import anything;
`ask` is the parent's side and imports nothing.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from r1lab.doctor.finding import ProbeAnswer

ROOT = Path(__file__).resolve().parents[2]
"""Where the package `r1lab` lies: a folder that is always there."""
DEADLINE_SECONDS = 120.0
"""Seconds: importing torch takes three on an idle machine and twenty on a busy one."""
HUB_SECONDS = 3.0
LATE = "no answer within"
"""Begins the problem of a child that its deadline ended."""
MARK = "r1lab-probe "
"""Begins the lines of stdout that are ours: packages print on import."""
CHILD = (
    "import sys; sys.path += sys.argv.pop(1).split(':'); from r1lab.doctor import probes; probes.answer(*sys.argv[1:])"
)


def ask(name: str, *arguments: str, deadline: float = DEADLINE_SECONDS) -> ProbeAnswer:
    """Run a probe in a fresh interpreter that does not import from the current folder."""
    command = [sys.executable, "-c", CHILD, os.pathsep.join(filter(None, sys.path)), name, *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    where = {"env": {**os.environ, "PYTHONSAFEPATH": "1"}, "cwd": _folder(), "start_new_session": True}
    child = subprocess.Popen(command, text=True, errors="replace", **pipes, **where)
    problem = None
    try:
        said, complaint = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        problem = f"{LATE} {deadline:g} s"
        said, complaint = _kill(child)
    facts, is_done = {}, False
    for line in said.splitlines():
        if line.startswith(MARK):
            word = json.loads(line.removeprefix(MARK))
            is_done = is_done or word is None
            facts |= word or {}
    return ProbeAnswer(facts, None if is_done else problem or _reason(child.returncode, complaint))


def answer(name: str, *arguments: str) -> None:
    """The child's side: facts as they are found, then null."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    PROBES[name](*arguments)
    _say(None)


def _folder() -> Path | str:
    """The current folder, or one that is there where that was removed: packages would be blamed for it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ROOT


def _say(facts: dict[str, Any] | None) -> None:
    print(f"\n{MARK}{json.dumps(facts)}", flush=True)


def _kill(child: subprocess.Popen) -> tuple[str, str]:
    """Kill the child with what it started, and take what it had said; what left its group is not waited for."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    try:
        return child.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        return "", ""


def _reason(code: int, complaint: str) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    last = [line.strip() for line in complaint.splitlines() if line.strip()][-1:]
    return last[0][:300] if code and last else f"ended with exit code {code} before it had answered"


def _imports(*modules: str) -> None:
    """Each module's error or null; where the process dies, `importing` is the culprit."""
    for module in modules:
        _say({"importing": module})
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a package raises is its answer
            _say({module: " ".join(f"{type(error).__name__}: {error}".split())[:300]})
        else:
            _say({module: None})


def _torch() -> None:
    import torch

    square = torch.ones(64, 64)
    if not (square @ square == 64).all():
        raise ArithmeticError("torch multiplies wrongly on the CPU")
    _say({"version": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.version.cuda})
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    _say({"driver": " ".join(str(each.message) for each in raised)})
    _say({"gpus": [_gpu(torch, index) for index in range(count)]})


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    device = torch.cuda.get_device_properties(index)
    problem = None
    try:
        square = torch.ones(64, 64, device=f"cuda:{index}")
        if not (square @ square == 64).all():
            problem = "torch multiplies wrongly on it"
    except RuntimeError as error:
        problem = str(error).strip().splitlines()[0]
    return {"name": device.name, "memory": device.total_memory, "problem": problem}


def _transformers() -> None:
    """`import transformers` is lazy and proves nothing: a model's own module is what a broken torchvision breaks."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.models.llama.modeling_llama import LlamaForCausalLM

    _say({"classes": [each.__name__ for each in (AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM)]})


def _triton(device: str) -> None:
    """A kernel of three lines; on the CPU in Triton's interpreter, which reads its variable before `jit` runs."""
    global tl  # jit looks names up in the module
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    import torch
    import triton
    import triton.language as tl

    @triton.jit
    def double(source, target, size: tl.constexpr):
        at = tl.arange(0, size)
        values = tl.load(source + at)
        tl.store(target + at, values * 2)

    source = torch.arange(16, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    double[(1,)](source, target, 16)  # pyright: ignore[reportArgumentType]  # the launch makes a constexpr of it
    if not torch.equal(target, source * 2):
        raise ArithmeticError("the kernel's result is wrong")


def _vllm() -> None:
    """Import the names that pull in vLLM's engine: the package itself loads lazily."""
    from vllm import LLM, SamplingParams

    _say({"classes": [LLM.__name__, SamplingParams.__name__]})


def _isolation() -> None:
    from r1lab.doctor import isolation

    _say(isolation.tried())
    _say(isolation.probed())


def _on_gpu(name: str) -> None:
    from r1lab.doctor import gpu

    _say(gpu.TRIED[name]())


def _hub(address: str) -> None:
    """Any reply counts, a refusal too. The parent's deadline covers a name server that does not answer."""
    import httpx

    httpx.head(address, timeout=HUB_SECONDS)


PROBES: dict[str, Callable[..., None]] = {
    probe.__name__[1:]: probe for probe in (_hub, _imports, _isolation, _on_gpu, _torch, _transformers, _triton, _vllm)
}
