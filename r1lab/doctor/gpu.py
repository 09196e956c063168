"""Try what training on a GPU needs: products, attention, several GPUs together. Not whether torch sees one
(`r1lab.doctor.doctor`).

Each function of `TRIED` runs in a child of its own (`r1lab.doctor.probes`), imports torch there and returns facts;
`findings` is the parent's side.
"""

import shutil
from collections.abc import Callable, Mapping
from typing import Any

from r1lab.doctor.finding import Finding, ProbeAnswer
from r1lab.doctor.hardware import GIB

MOST_ERROR = 0.02
"""Of a bfloat16 product of random numbers, relative to the float32 one of a CPU; rounding is 0.004."""
LEAST_CAPABILITY = 8, 0
"""Of a GPU that multiplies bfloat16 in hardware (Ampere)."""
FREE_SHARE = 0.8
"""Of a GPU's memory, below which somebody else's is told of."""
SHARED_GIB = 1
"""Of /dev/shm, through which processes and NCCL exchange data."""
LENGTHS, GRAPHS = (300, 520, 777), 8
"""Rows that FlexAttention is compiled for, and how many graphs they may take: past a limit it runs uncompiled."""


def product(device: str = "cuda") -> dict[str, Any]:
    """A bfloat16 product on each GPU, its free memory and compute capability."""
    import torch

    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(512, 512, generator=random) for _ in range(2))
    truth, gpus = one @ other, []
    for index in range(torch.cuda.device_count() if device == "cuda" else 1):
        place = f"cuda:{index}" if device == "cuda" else device
        made = (one.to(place, torch.bfloat16) @ other.to(place, torch.bfloat16)).float().cpu()
        facts: dict[str, Any] = {"error": float((made - truth).norm() / truth.norm())}
        if device == "cuda":
            free, total = torch.cuda.mem_get_info(index)
            facts |= {"free": free, "total": total, "capability": torch.cuda.get_device_capability(index)}
        gpus.append(facts)
    return {"gpus": gpus}


def flash(device: str = "cuda") -> dict[str, Any]:
    """Scaled dot products by the flash kernel, with gradients."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    shape = {"device": device, "dtype": torch.bfloat16, "requires_grad": True}
    query, key, value = (torch.randn(1, 4, 256, 64, **shape) for _ in range(3))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    gradients = torch.autograd.grad(found.sum(), (query, key, value))
    return {"finite": all(bool(each.isfinite().all()) for each in (found, *gradients))}


def flex(device: str = "cuda") -> dict[str, Any]:
    """FlexAttention compiled, with gradients, for rows of several lengths; how many graphs that took."""
    import torch
    from torch._dynamo import config
    from torch._dynamo.utils import counters
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def is_seen(_, __, query, key):
        return query >= key

    with config.patch(fail_on_recompile_limit_hit=True):  # pyright: ignore[reportAttributeAccessIssue]
        kernel = torch.compile(flex_attention, dynamic=True)
        for length in LENGTHS:
            shape = {"device": device, "dtype": torch.bfloat16, "requires_grad": device == "cuda"}
            query, key, value = (torch.randn(1, heads, length, 64, **shape) for heads in (12, 2, 2))
            mask = create_block_mask(is_seen, None, None, length, length, device=device)
            found = kernel(query, key, value, block_mask=mask, enable_gqa=True)
            if device == "cuda":
                found.sum().backward()
    return {"graphs": counters["stats"].get("unique_graphs", 0)}


def together() -> dict[str, Any]:
    """A sum over all GPUs by NCCL, and which pairs reach each other's memory."""
    import torch
    from torch.cuda import nccl

    count = torch.cuda.device_count()
    parts = [torch.full((1024,), float(index + 1), device=f"cuda:{index}") for index in range(count)]
    nccl.all_reduce(parts)
    if any(bool((part != count * (count + 1) / 2).any()) for part in parts):
        raise ArithmeticError("NCCL sums wrongly")
    apart = [
        [one, other]
        for one in range(count)
        for other in range(one + 1, count)
        if not torch.cuda.can_device_access_peer(one, other)
    ]
    return {"count": count, "apart": apart}


TRIED: dict[str, Callable[[], dict[str, Any]]] = {each.__name__: each for each in (product, flash, flex, together)}


def findings(answers: Mapping[str, ProbeAnswer]) -> list[Finding]:
    """What the answers of `TRIED` mean; nothing where they were not asked."""
    if not answers:
        return []
    made = _of_product(answers["product"])
    made.append(
        _of("flash attention", answers["flash"], "reinstall torch for this GPU; without it attention is slower")
    )
    flex_remedy = (
        "apt-get install -y gcc libc6-dev python3-dev, if the compiler or Python.h is what it misses; until then "
        "attention: padded in the recipe"
    )
    graphs = answers["flex"].facts.get("graphs", 0)
    detail = f"compiles, {graphs} graphs for {len(LENGTHS)} lengths"
    if answers["flex"].problem is None and graphs > GRAPHS:
        remedy = "take another version of torch in the supported range, or attention: padded"
        made.append(Finding("gpu", "flex attention", "note", f"compiles anew for each row: {detail}", remedy))
    else:
        made.append(_of("flex attention", answers["flex"], flex_remedy, detail))
    if len(answers["product"].facts.get("gpus", [])) > 1:
        made += _of_several(answers["together"])
    return [*made, shared_memory()]


def _of(name: str, answer: ProbeAnswer, remedy: str, detail: str = "works") -> Finding:
    if answer.problem is None:
        return Finding("gpu", name, "ok", detail)
    return Finding("gpu", name, "broken", answer.problem, remedy)


def _of_product(answer: ProbeAnswer) -> list[Finding]:
    if answer.problem is not None:
        return [_of("bfloat16", answer, "free the GPU's memory, or update its driver; nvidia-smi says who uses it")]
    made = []
    for index, gpu in enumerate(answer.facts["gpus"]):
        name, (major, minor) = f"cuda:{index}", gpu["capability"]
        detail = f"compute capability {major}.{minor}, {gpu['free'] / GIB:.0f} of {gpu['total'] / GIB:.0f} GiB free"
        if not gpu["error"] <= MOST_ERROR:
            detail = f"a bfloat16 product is off by {gpu['error']:.2g}; {detail}"
            made.append(
                Finding("gpu", name, "broken", detail, "leave it out by CUDA_VISIBLE_DEVICES, and have it looked at")
            )
        elif (major, minor) < LEAST_CAPABILITY:
            remedy = "precision: float32 and engine.dtype: float16 in the recipe"
            made.append(Finding("gpu", name, "note", f"no bfloat16 in hardware: {detail}", remedy))
        elif gpu["free"] < FREE_SHARE * gpu["total"]:
            remedy = "end what holds the rest (nvidia-smi names it), or lower engine.gpu_memory_utilization"
            made.append(Finding("gpu", name, "note", detail, remedy))
        else:
            made.append(Finding("gpu", name, "ok", detail))
    return made


def _of_several(answer: ProbeAnswer) -> list[Finding]:
    made = [_of("NCCL", answer, "train with one process a GPU only where this works; export NCCL_DEBUG=INFO says why")]
    if apart := answer.facts.get("apart"):
        pairs = ", ".join(f"{one}-{other}" for one, other in apart[:8])
        made.append(Finding("gpu", "peer access", "note", f"not between {pairs}: exchange goes over the host", ""))
    elif answer.problem is None:
        made.append(Finding("gpu", "peer access", "ok", f"among all {answer.facts['count']}"))
    return made


def shared_memory(folder: str = "/dev/shm") -> Finding:
    """Room in memory that processes share."""
    try:
        total = shutil.disk_usage(folder).total
    except OSError as error:
        return Finding("gpu", folder, "note", f"not there: {error}", "start the container with --ipc=host")
    if total < SHARED_GIB * GIB:
        return Finding("gpu", folder, "note", f"only {total / GIB:.2f} GiB", "start the container with --shm-size=16g")
    return Finding("gpu", folder, "ok", f"{total / GIB:.1f} GiB")
