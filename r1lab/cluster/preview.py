"""A dry run with `--cluster`: what is asked of its machines, and whether the recipe's model fits the servers. Asks Ray
nothing; the rest is `r1lab.stages.dry_run`."""

import os
from typing import Any

from r1lab.cluster.placement import PlacedRun, asked_for, served
from r1lab.engines.server.client import PLACED_VARIABLE
from r1lab.errors import RecipeError, RunError
from r1lab.policy.location import locate
from r1lab.stages import dry_run

SERVER_SHARE = 0.9
"""Of a GPU's memory, that vLLM takes in a server where nobody says another."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def told(placement: PlacedRun, *, device: str | None, **options: Any) -> tuple[str, RecipeError | RunError | None]:
    """As `r1lab.stages.dry_run.told`. RecipeError where the servers cannot hold the recipe's model."""
    os.environ[PLACED_VARIABLE] = ""  # else the servers are counted among this machine's GPUs
    text, refusal = dry_run.told(placement.plan, placement.processes, device=device, **options)
    return "\n".join([*lines(placement, device), text]), refusal


def lines(placement: PlacedRun, device: str | None = None) -> list[str]:
    from r1lab.policy import models  # torch comes with these
    from r1lab.policy.memory import GIB
    from r1lab.stages import costs, gpu_memory, model_shapes

    servers, trainers = placement.config.servers, placement.config.trainers
    model = served(placement)
    sums = ", ".join(f"{amount:g} {name}" for name, amount in asked_for(placement).items())
    text = [
        f"cluster: {servers.count} servers ({model.kind}, {model.dtype}; each {_each(servers)}) and "
        f"{placement.processes} trainers (each {_each(trainers)}): {sums}"
    ]
    config, card = model_shapes.config_of(locate(model.location)), gpu_memory.card_of(device)
    size, parts = BYTES[model.dtype], max(1, servers.gpus)
    context = models.context_length(config) or costs.PROMPT_TOKENS
    longest = max(stage.engine.max_model_len or context for stage in placement.serving)
    weights = size * models.num_parameters(config) / parts
    keys = size * costs.keys_of_a_token(config) * longest / parts
    need = f"weights {weights / GIB:.2f}, keys of one sequence of {longest:,} tokens {keys / GIB:.2f}"
    text.append(f"  memory of a server, estimated GiB{' a GPU' if servers.gpus else ''}: {need}")
    if servers.gpus and card is not None:
        least, room = weights + keys + gpu_memory.VLLM_WORKING_BYTES, SERVER_SHARE * card.size
        if least > room:
            raise RecipeError(
                f"--cluster: a server's {least / GIB:.1f} GiB a GPU (weights, one sequence's keys, working memory) do "
                f"not fit into {SERVER_SHARE:g} of {card.name}'s {card.size / GIB:.1f}; raise servers.gpus, or lower "
                "engine.max_model_len"
            )
        text.append(f"  a server fits {card.name}: at least {least / GIB:.1f} of {room / GIB:.1f} GiB a GPU")
    if servers.gpus and not trainers.gpus:
        text.append("  note: trainers.gpus is 0: they learn on CPUs, and vLLM takes weights from a GPU alone")
    return text


def _each(asked: Any) -> str:
    several = f"{asked.gpus} GPU{'s' * (asked.gpus > 1)} and " if asked.gpus else ""
    return f"{several}{asked.cpus} CPU{'s' * (asked.cpus > 1)}"
