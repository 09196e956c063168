"""Choose and open the engine of a stage: what `auto` takes and why, and whether a named one can run here.

Not the engines themselves, nor their settings' meaning (`r1lab.recipe.EngineConfig`).
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PretrainedConfig

from r1lab import plugin
from r1lab.distributed import ranks
from r1lab.doctor import versions
from r1lab.engines import ENGINES, Engine, make
from r1lab.engines.server import handshake, replicas
from r1lab.engines.server.client import KEY_VARIABLE, PLACED_VARIABLE
from r1lab.engines.sync import PolicyProtocol
from r1lab.engines.text import TextOf
from r1lab.engines.vllm import diagnose
from r1lab.engines.vllm import lora as vllm_adapter
from r1lab.errors import MissingHere, RecipeError
from r1lab.policy import models
from r1lab.policy.memory import GIB
from r1lab.recipe import EngineConfig, LoraConfig

VLLM_PARAMETERS = 10_000_000
"""Parameters from which on vLLM is taken. On two CPU cores a model of 0.9M runs at 14.5k tokens/s against 20k of
transformers at 256 sequences, one of 135M (bfloat16) at 886 against 379 at 64 sequences."""
TRAITS = {
    name: getattr(Engine, name)
    for name in ("dtype", "has_own_layout", "shared_names", "takes_adapter", "weights_follow")
}
TRAITS |= {"agree": lambda: None}
"""Of `Engine`, with their defaults, which a plug-in that does not inherit is given."""


@dataclass(frozen=True)
class EngineChoice:
    """An engine's name and the reason, for people, why it was taken."""

    name: str
    why: str


def choose(kind: str, config: PretrainedConfig, lora: LoraConfig | None = None) -> EngineChoice:
    """`auto` is vLLM where it is installed, runs this model and is worth it; any other kind is what it says."""
    if kind != "auto":
        return EngineChoice(kind, "the recipe names it")
    size = models.num_parameters(config)
    if size < VLLM_PARAMETERS:
        why = f"{size / 1e6:.1f}M parameters: below {VLLM_PARAMETERS // 10**6}M it is faster than vLLM"
        return EngineChoice("local", why)
    if reason := diagnose.missing():
        return EngineChoice("local", reason)
    if reason := diagnose.unsupported(config) or vllm_adapter.too_wide(lora):
        return EngineChoice("local", reason)
    found = next(name for name in diagnose.EXTRA if versions.version(name))
    return EngineChoice("vllm", f"{found} {versions.version(found)} is installed, {size / 1e6:.1f}M parameters")


def check(knobs: EngineConfig, config: PretrainedConfig | None, lora: LoraConfig | None = None) -> int | None:
    """The most tokens of prompt and completion that the engine allows, None where the model's context does.

    RecipeError where `engine.kind` is not known or cannot run here, MissingHere without vLLM; `config` is None
    where it is not known yet.
    """
    if knobs.kind != "auto":
        plugin.find(ENGINES, knobs.kind, "engine.kind")
    if knobs.kind == "server" and knobs.urls:
        return _check_servers(knobs, config)
    if knobs.kind == "server":
        if PLACED_VARIABLE not in os.environ:
            replicas.devices(knobs.replicas, knobs.tensor_parallel)
        return None
    if knobs.kind in ("auto", "vllm") and knobs.tensor_parallel > 1 and ranks.size() > 1:
        raise RecipeError(
            f"engine.tensor_parallel: {knobs.tensor_parallel} in {ranks.size()} processes: each process samples with "
            "the one GPU it trains on; use tensor_parallel: 1, one process, or servers (engine.kind: server)"
        )
    if knobs.kind != "vllm":
        return None
    if reason := vllm_adapter.too_wide(lora):
        raise RecipeError(f"{reason}; lower it, or take engine.kind: local")
    if reason := diagnose.missing():
        raise MissingHere(f"engine.kind: vllm: {reason}; or engine.kind: local")
    context = None if config is None else models.context_length(config)
    if context and knobs.max_model_len and knobs.max_model_len > context:
        raise RecipeError(f"engine.max_model_len: {knobs.max_model_len} is more than the model's context of {context}")
    if config is not None and (reason := diagnose.unsupported(config)):
        raise RecipeError(f"engine.kind: vllm: {reason}; or engine.kind: local")
    _check_gpus(knobs, config)
    return knobs.max_model_len


def _check_gpus(knobs: EngineConfig, config: PretrainedConfig | None) -> None:
    """RecipeError where vLLM cannot stand beside the trainer of each process on a GPU, with the sum that says why."""
    count, processes = torch.cuda.device_count(), ranks.neighbours()
    if not count:
        return
    asked = processes * knobs.tensor_parallel
    if asked > count:
        raise RecipeError(
            f"engine.kind: vllm: {processes} processes x {knobs.tensor_parallel} GPU(s) each = {asked} GPUs, and this "
            f"machine has {count}: each process samples with the one that it trains on; start {count} processes at most"
        )
    if config is None:
        return
    size, parameters = 4 if knobs.dtype == "float32" else 2, models.num_parameters(config)
    weights = size * parameters / knobs.tensor_parallel / GIB
    card = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory / GIB
    share = knobs.gpu_memory_utilization * card
    if weights > share:
        raise RecipeError(
            f"engine.gpu_memory_utilization: {knobs.gpu_memory_utilization} x {card:.1f} GiB = {share:.1f} GiB, and "
            f"the weights alone take {parameters / 1e9:.1f}e9 x {size} bytes / {knobs.tensor_parallel} "
            f"GPU(s) = {weights:.1f}; raise it where the trainer leaves room (--dry-run says), or sample with servers "
            "(engine.kind: server)"
        )


def notes(knobs: EngineConfig, prompts_per_step: int) -> list[str]:
    """What is worth saying of an engine that can run here."""
    count = len(knobs.urls) or knobs.replicas
    if count <= prompts_per_step:
        return []
    return [f"engine: {count} servers and prompts_per_step: {prompts_per_step}: a prompt's completions come from one "
            f"server, so {count - prompts_per_step} of them sample nothing in a step"]  # fmt: skip


def _check_servers(knobs: EngineConfig, config: PretrainedConfig | None) -> int:
    """Check the servers; the smallest of their contexts."""
    text = None if config is None else config.get_text_config().to_dict()
    try:
        return min(each.context for each in handshake.check(knobs.urls, knobs.key_env, text))
    except ValueError as error:
        raise RecipeError(f"engine: {error}") from None


def open_engine(
    name: str, knobs: EngineConfig, policy: PolicyProtocol, text_of: TextOf, say: Callable[[str], None] | None = None
) -> Engine:
    """The engine of a policy. RecipeError where it cannot run here, or not such a model. `say` is told what befalls
    servers."""
    if name == "vllm" and (reason := diagnose.missing()):
        raise RecipeError(f"engine: the run samples with vllm: {reason}; or start anew with another out=")
    given = settings(name, knobs, policy)
    with ExitStack() as undo:
        if name == "server":
            given["say"] = say if say and ranks.is_first() else _said_by_rank  # progress is silent on the others
            if knobs.replicas and (placed := os.environ.get(PLACED_VARIABLE)):
                given |= {"urls": placed.split(","), "key_env": KEY_VARIABLE}
            elif knobs.replicas:
                given |= _start_replicas(knobs, policy, given["say"], undo)
        try:
            engine = make(name, policy.model, policy.tokenizer, text_of=text_of, **given)
        except ValueError as error:
            raise RecipeError(f"engine: {error}") from None
        undo.pop_all()
    for trait, default in TRAITS.items():
        if not hasattr(engine, trait):
            setattr(engine, trait, default)
    return engine


def _said_by_rank(line: str) -> None:
    print(f"rank {ranks.rank()}: {line}" if ranks.size() > 1 else line, file=sys.stderr, flush=True)


def _start_replicas(
    knobs: EngineConfig, policy: PolicyProtocol, say: Callable[[str], None], undo: ExitStack
) -> dict[str, Any]:
    """What a server engine is opened with, once rank 0 has started servers of the policy's model; `undo` ends them."""
    kind: Literal["local", "vllm"] = "vllm" if choose("auto", policy.model.config).name == "vllm" else "local"
    dtype = str(settings(kind, knobs, policy)["dtype"]).removeprefix("torch.")
    more = ["--max-num-seqs", str(knobs.max_num_seqs)]
    more += ["--max-model-len", str(knobs.max_model_len)] if knobs.max_model_len else []
    location = policy.model.name_or_path
    assert location is not None  # it was loaded from somewhere
    plan = replicas.ReplicaPlan(location, kind, dtype, torch.get_num_threads(), knobs.tensor_parallel, tuple(more))

    def start() -> tuple[list[str], str]:
        own = replicas.Replicas(plan, replicas.devices(knobs.replicas, knobs.tensor_parallel), say)
        undo.callback(own.close)
        started.append(own)
        return own.urls, os.environ[KEY_VARIABLE]

    started: list[replicas.Replicas] = []
    urls, os.environ[KEY_VARIABLE] = ranks.first(start)
    return {"urls": urls, "key_env": KEY_VARIABLE, "close_servers": [each.close for each in started]}


def settings(name: str, knobs: EngineConfig, policy: PolicyProtocol) -> dict[str, Any]:
    """The knobs that engine `name` takes, as its keyword arguments."""
    if name == "server":
        return {key: getattr(knobs, key) for key in ("urls", "key_env", "deadline", "reconnect", "max_num_seqs")}
    if name != "vllm":
        own_dtype = policy.compute_dtype if torch.cuda.is_available() else torch.float32
        dtype = own_dtype if knobs.dtype == "auto" else getattr(torch, knobs.dtype)
        return {"max_batch": knobs.max_batch} | ({"dtype": dtype} if name == "local" else {})
    own = ("max_model_len", "max_num_seqs", "gpu_memory_utilization", "tensor_parallel", "enforce_eager")
    dtype = policy.compute_dtype if knobs.dtype == "auto" else getattr(torch, knobs.dtype)
    return {"dtype": dtype, **{key: getattr(knobs, key) for key in own}}
