"""Start vLLM in this process, and put back the global state that it changes.

Not what is done with it (`r1lab.engines.vllm.engine`). Written against vLLM 0.32.
"""

import copy
import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import PretrainedConfig

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""While vLLM is imported and an engine made: in this process, on the model runner that a CPU has too, and quiet."""
BLOCK_TOKENS = 32
"""Tokens of a block of keys on a CPU. Only whole blocks of a prompt are shared, and vLLM's own choice is 128."""
PREFILL_TOKENS = 4096
"""Tokens of one step at least, on a CPU."""


CACHE = Path("~/.cache/r1lab/vllm")
"""Where descriptions of models are kept (`description`)."""


@contextmanager
def untouched() -> Iterator[None]:
    """Global random streams, the current GPU, torch's thread count and the environment are afterwards what they
    were."""
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    streams = random.getstate(), np.random.get_state()
    environment = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    devices = gpus()
    try:
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for device in devices:
            torch.cuda.set_device(device)  # a worker makes its own the current one
        torch.set_num_threads = set_num_threads  # a CPU's worker puts a function in its place that does nothing
        if torch.get_num_threads() != threads:
            set_num_threads(threads)
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def gpus() -> list[int]:
    """The GPU that this process computes on, or nothing."""
    return [torch.cuda.current_device()] if torch.cuda.is_available() else []


@contextmanager
def description(model, tokenizer) -> Iterator[str]:
    """A folder of the model's configuration and its tokenizer, without weights.

    On a GPU its name is a digest of its content: vLLM's cache of compiled graphs takes the folder's name for the
    model's, and would miss at every start.
    """
    with tempfile.TemporaryDirectory() as made:
        config = copy.deepcopy(model.config)
        config.architectures = [type(model).__name__]
        config.save_pretrained(made)
        tokenizer.save_pretrained(made)
        yield _kept(Path(made)) if torch.cuda.is_available() else made


def _kept(described: Path) -> str:
    """The folder's copy under `CACHE`; itself where nothing can be written there."""
    content = blake2b(digest_size=16)
    for file in sorted(path for path in described.rglob("*") if path.is_file()):
        content.update(f"{file.relative_to(described)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    place = CACHE.expanduser() / content.hexdigest()
    try:
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as beside:
                shutil.copytree(described, Path(beside) / "made")
                os.rename(Path(beside) / "made", place)
    except OSError:  # no home, or another rank was faster
        return str(place if place.is_dir() else described)
    return str(place)


def executor(workers: int) -> str:
    """Where vLLM's workers run: in this process where there is one.

    Of several ranks on GPUs each takes the one that reads LOCAL_RANK; the other puts every rank's weights on the first
    GPU. Its start is a collective.
    """
    if workers > 1:
        return "mp"
    return "external_launcher" if gpus() and int(os.environ.get("WORLD_SIZE", "1")) > 1 else "uni"


def start(folder: str, config: PretrainedConfig, options: dict[str, Any]):
    """An `LLMEngine` of vLLM of a folder's configuration and tokenizer, with weights that mean nothing."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    on_gpu = torch.cuda.is_available()
    options = {key: value for key, value in options.items() if value is not None}
    if not on_gpu:
        options |= for_cpu(config, options)
    arguments = EngineArgs(
        model=folder,
        load_format="dummy",  # weights come with the first sync
        generation_config="vllm",  # else a model's own sampling settings would be mixed in
        logprobs_mode="processed_logprobs",
        distributed_executor_backend=executor(options.get("tensor_parallel_size", 1)),
        worker_extension_cls="r1lab.engines.vllm.worker.Extension",
        enable_sleep_mode=on_gpu,
        enable_prefix_caching=True,
        async_scheduling=False,
        disable_log_stats=True,
        **options,
    )
    engine = LLMEngine.from_engine_args(arguments)
    engine.collective_rpc("r1lab_prepare")
    return engine


def for_cpu(config: PretrainedConfig, options: dict[str, Any]) -> dict[str, Any]:
    """What a CPU needs to be told. Keys get the memory that all sequences need, or their share.

    Chunked prefill crashes there where requests have seeds ("CPU Generator does not use offset"): a step must hold the
    longest prompt.
    """
    text = config.get_text_config()
    context = options.get("max_model_len") or text.max_position_embeddings
    share = int(options["gpu_memory_utilization"] * psutil.virtual_memory().total)
    kept_tokens = options["max_num_seqs"] * -(-context // BLOCK_TOKENS) * BLOCK_TOKENS
    return {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(context, PREFILL_TOKENS),
        "block_size": BLOCK_TOKENS,
        "kv_cache_memory_bytes": min(kept_tokens * bytes_per_token(text, options["dtype"]), share),
    }


def bytes_per_token(text: PretrainedConfig, dtype: str) -> int:
    """Keys and values of one token in all layers."""
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * size * getattr(torch, dtype).itemsize
