"""A tiny random model on disk, policies on it, and rollouts made by hand."""

import atexit
import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a thread that waits must not spin where other tests run

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
if getattr(importlib.util.find_spec("r1lab"), "origin", None) is None:  # not installed, as on a bare GPU machine
    sys.path += [str(ROOT), *(str(ROOT / name) for name in ("verifiers", "sandbox", "data"))]

from r1lab import timing  # noqa: E402
from r1lab.doctor import hardware  # noqa: E402

if TYPE_CHECKING:  # torch takes seconds, which the process that only hands out the tests need not wait
    from r1lab.policy.policy import Policy
    from r1lab.records import Group, Sample

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under `nohup`: what a test starts would ignore Ctrl-C too
    signal.signal(signal.SIGINT, signal.default_int_handler)

timing.CPU_SIZE = 64  # a run times large products, half a second in every process; test_timing.py has them
os.fsync = lambda descriptor: None  # no test cuts the power, and what a killed process wrote stays: 8 ms a call saved

with contextlib.suppress(ImportError):  # the tests on a GPU go without
    import hypothesis

    hypothesis.settings.register_profile("busy", deadline=None)  # a neighbour on the machine is no failure
    hypothesis.settings.load_profile("busy")


# Kernels run in Triton's interpreter, but for `-m gpu` where there is one. Triton reads it where it is imported, which
# the conftest of a folder does before pytest's options are parsed.
is_on_gpu = any("gpu" in text.replace("not gpu", "") for text in sys.argv if "/" not in text) and hardware.has_nvidia()
os.environ.setdefault("TRITON_INTERPRET", "0" if is_on_gpu else "1")


FORKS = multiprocessing.get_context("forkserver")
WARM = (
    "r1lab.cli.main", "r1lab.pipeline", "r1lab.cli.quickstart", "r1lab.comparison.compare", "scipy.stats", "accelerate",
    "pandas", "transformers.models.llama.modeling_llama", "pyarrow.dataset", "pyarrow.pandas_compat",
    "r1lab.engines.local.engine", "r1lab_verifiers.numeric",
)  # fmt: skip
"""What a forked process finds imported."""
FORKS.set_forkserver_preload(list(WARM))
DEATHS = """
import os, runpy, signal, sys
from r1lab import timing

os.fsync = lambda descriptor: None
timing.CPU_SIZE = 64  # where the fork server imported it anew

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def at_call(owner, name, number, act=die, before=True):
    original, calls = getattr(owner, name), []
    def counted(*arguments, **keywords):
        calls.append(None)
        if before and len(calls) == number:
            act()
        result = original(*arguments, **keywords)
        if not before and len(calls) == number:
            act()
        return result
    setattr(owner, name, counted)
"""
COMMAND = """
os.chdir({folder!r})
os.environ.update({environment!r})
for number, name in ((1, "stdout"), (2, "stderr")):
    os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
{code}
"""


gc.disable()  # what is imported stays: looking through it for cycles is a tenth of the time that importing takes


def pytest_collection_finish(session):
    """What was imported is left out of every later collection of cycles too, until the process ends."""
    forks = any("forked" in getattr(item, "fixturenames", ()) for item in session.items)
    if forks:
        for name in WARM:
            importlib.import_module(name)
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping("llama")  # 0.3 s
    gc.freeze()
    if forks and sys.version_info < (3, 14):  # from where it has a key of its own
        become_fork_server()
    gc.enable()
    gc.set_threshold(10_000)  # at Python's 700, trees of syntax and modules are looked through again and again
    atexit.register(gc.unfreeze)  # libraries that count their references would print what they miss


def become_fork_server() -> None:
    """Let a fork of this process, which has imported everything and run nothing, be multiprocessing's fork server: one
    that it starts itself imports all of it again."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(connection.arbitrary_address("AF_UNIX"))
        listener.listen()
        alive, kept = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(kept)
                forkserver.main(listener.fileno(), alive, [])
            finally:
                os._exit(0)
        server = forkserver._forkserver
        server._forkserver_address, server._forkserver_alive_fd = listener.getsockname(), kept
        server._forkserver_pid = pid
    os.close(alive)


def pytest_runtest_setup(item):
    """Tests marked `sandbox` say why where this machine gives no isolation."""
    if item.get_closest_marker("sandbox") and (reason := missing_isolation()):
        pytest.skip(reason)


@functools.cache
def missing_isolation() -> str:
    from r1lab_sandbox.box import Sandbox
    from r1lab_sandbox.forkserver.forkserver import SandboxError

    try:
        with Sandbox(slots=1):
            return ""
    except SandboxError as error:
        return f"no isolation here: {error}"


@pytest.fixture(scope="session")
def forked():
    """Starts a text of Python as a process, forked from one that has imported everything and run no torch operation
    (OpenMP's threads do not survive a fork). Its `at_call` patches a function to die by SIGKILL, as the kernel would.
    """

    def start(code: str) -> multiprocessing.Process:
        process = FORKS.Process(target=exec, args=(DEATHS + code, {}))
        process.start()
        return process

    return start


@pytest.fixture(scope="session")
def forked_in(forked):
    """The same in a folder and with variables of the environment; what it prints is in `stdout` and `stderr` there."""

    def start(folder: Path, code: str, **environment: str) -> multiprocessing.Process:
        return forked(COMMAND.format(folder=str(folder), environment=environment, code=code))

    return start


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A Hugging Face folder: a random Llama of 2 layers, 64 wide, with the embedded model's tokenizer of characters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from r1lab import embedded

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    config = LlamaConfig(
        vocab_size=99, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False, initializer_range=0.2,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(embedded.path() / name, folder)
    return folder


@pytest.fixture(scope="session")
def make_stage():
    """An RL stage of one step on a task, with what a test sets."""
    from r1lab.recipe import RlStageConfig

    quiet = {
        "name": "rl",
        "precision": "float32",
        "optimizer": {"warmup_updates": 0},
        "learning_rate": 1e-3,
        "steps": 1,
    }
    return lambda **settings: RlStageConfig(**{**quiet, "data": {"task": "addition"}, **settings})


@pytest.fixture(scope="session")
def make_policy(tiny_model, make_stage):
    """A policy on the tiny model; settings are the stage's."""
    import torch

    from r1lab.policy.policy import Policy

    def make(
        *, location=tiny_model, needs_ref=False, temperature=1.0, total_updates=10, value_rate=None, **settings
    ) -> "Policy":
        torch.set_num_threads(1)
        return Policy(
            str(location), make_stage(**settings), total_updates=total_updates, temperature=temperature,
            needs_ref=needs_ref, value_rate=value_rate,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def make_rollout():
    """A completion of ids made by hand."""
    from r1lab.records import Request, RequestId, Role, Rollout, Sampling

    def make(prompt_ids, completion_ids, *, draw=0, index=0, engine=-1.0, role=Role.POLICY, finish="eos", text=""):
        size = len(completion_ids)
        roles = np.broadcast_to(np.asarray(role, np.int8), size).copy()
        logprobs = np.where(roles == Role.POLICY, np.broadcast_to(np.asarray(engine, np.float32), size), np.nan)
        request = Request(RequestId("train/rl", draw, index), f"p{draw}", tuple(prompt_ids), draw, Sampling())
        return Rollout(
            request, tuple(completion_ids), roles, logprobs.astype(np.float32), np.zeros(size, np.int32), finish, text
        )

    return make


@pytest.fixture(scope="session")
def make_group(make_rollout):
    """A group with these rewards and scores (1), one completion of three tokens each; a reward of None is an error of
    ours."""
    from r1lab.records import Draw, Group, Scored
    from r1lab_data import Problem
    from r1lab_verifiers.verdict import Verdict

    def make(rewards, draw=0, lengths=None, scores=None) -> "Group":
        members = []
        for index, reward in enumerate(rewards):
            size = lengths[index] if lengths else 3
            rollout = make_rollout((5, 6), range(7, 7 + size), draw=draw, index=index)
            score = scores[index] if scores else 1.0
            status = "correct" if score == 1 else "partial" if score else "wrong"
            verdict = Verdict(None, "error", reason="broken") if reward is None else Verdict(score, status)
            members.append(Scored(rollout, verdict, reward, {} if reward is None else {"score": reward}))
        return Group(Draw(draw, Problem(f"p{draw}", "1+1", "2", source="s"), len(members)), tuple(members))

    return make


@pytest.fixture(scope="session")
def make_samples(make_rollout):
    """Samples of random ids and lengths, with advantages and scales."""
    from r1lab.records import Sample

    def make(count=8, seed=0, longest=9, **fields) -> "list[Sample]":
        random, made = np.random.default_rng(seed), []
        for index in range(count):
            prompt, size = random.integers(3, 99, random.integers(1, 9)), int(random.integers(1, longest + 1))
            rollout = make_rollout(prompt.tolist(), random.integers(3, 99, size).tolist(), index=index, **fields)
            advantage = np.full(size, random.normal(), np.float32)
            made.append(Sample(rollout, rollout.role, advantage, np.full(size, 1 / 40, np.float32)))
        return made

    return make


@pytest.fixture
def command(tmp_path, monkeypatch, capfdbinary):
    """r1lab with these arguments in an empty folder: (exit code, stdout as bytes, stderr as text)."""
    from r1lab.cli import main as cli

    monkeypatch.chdir(tmp_path)
    path = list(sys.path)

    def run(*arguments: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["r1lab", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfdbinary.readouterr()
        return end.value.code, out, err.decode()

    yield run
    sys.path[:] = path


@pytest.fixture
def rows(tmp_path):
    """rows(...) -> the path of a JSONL file; texts and bytes are lines as they stand."""

    def write(*lines: dict | str | bytes, name: str = "cases.jsonl") -> str:
        encoded = [json.dumps(line).encode() if isinstance(line, dict) else line for line in lines]
        encoded = [line.encode() if isinstance(line, str) else line for line in encoded]
        (tmp_path / name).write_bytes(b"".join(line + b"\n" for line in encoded))
        return str(tmp_path / name)

    return write
