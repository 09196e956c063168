"""Check a vLLM server before it is used: reachable, vLLM, its key, how it was started, the shape of its model.

Everything that can be wrong with a server is one line here: its URL, what is the matter, the remedy.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from r1lab.engines.server.client import FILE, NCCL, Gone, ServerRefusal, Wire
from r1lab.engines.server.connection import Facts

SERVE = "start it with: r1lab serve MODEL"
SHAPE = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "tie_word_embeddings",
)  # fmt: skip
"""Of a text model's config: what must be equal for weights to fit."""
ANSWER_SECONDS = 20.0
"""Seconds that a server may take for a question that costs it nothing."""


def check(urls: Sequence[str], key_env: str | None, config: Mapping[str, Any] | None) -> list[Facts]:
    """Facts of servers that may serve a policy together. ValueError in one line where one of them cannot."""
    facts = []
    for url in urls:
        try:
            facts.append(check_server(Wire(url, key_env=key_env), config))
        except Gone as error:
            raise ValueError(f"{error}; is the server up? {SERVE}") from None
    kinds = {each.transfer for each in facts}
    if len(kinds) > 1:
        raise ValueError(f"the servers take weights in several ways ({', '.join(sorted(kinds))}); start all alike")
    if len({each.dtype for each in facts}) > 1:
        named = ", ".join(f"{url} in {each.dtype}" for url, each in zip(urls, facts))
        raise ValueError(f"the servers compute in several types ({named}); start all with one --dtype")
    return facts


def check_server(wire: Wire, config: Mapping[str, Any] | None) -> Facts:
    """Facts of a server that may serve a policy of this config (its text model's, as a dict; None: not known yet).

    ValueError in one line for what is wrong with it; Gone where it cannot be reached.
    """
    if wire.key_env and not os.environ.get(wire.key_env):
        raise ValueError(f"{wire.url}: the environment variable {wire.key_env!r} (engine.key_env) is not set")
    require_vllm(wire)
    facts = ask_facts(wire)
    require_start(wire, facts)
    if config is not None:
        require_shape(wire.url, facts, config)
    return facts


def require_vllm(wire: Wire) -> None:
    try:
        version = wire.get("/version", ANSWER_SECONDS)
    except ServerRefusal as error:
        raise ValueError(f"{wire.url} is not a vLLM server (/version: {error.status} {error.said}); {SERVE}") from None
    if not isinstance(version, dict) or "version" not in version:
        raise ValueError(f"{wire.url} is not a vLLM server (/version says {str(version)[:80]!r}); {SERVE}")


def ask_facts(wire: Wire) -> Facts:
    """The model's name, and what our worker extension says; it is told to report log-probabilities as we need them."""
    try:
        model = wire.get("/v1/models", ANSWER_SECONDS)["data"][0]["id"]
        found = wire.post("/collective_rpc", {"method": "r1lab_facts"}, ANSWER_SECONDS)["results"][0]
        wire.post("/collective_rpc", {"method": "r1lab_prepare"}, ANSWER_SECONDS)
        return Facts(model=model, **found)
    except ServerRefusal as error:
        if error.status in (401, 403):
            raise ValueError(f"{wire.url} {key_trouble(wire.key_env)}") from None
        if error.status == 404:
            raise ValueError(f"{wire.url} takes no weights (VLLM_SERVER_DEV_MODE is not 1 there); {SERVE}") from None
        raise ValueError(f"{wire.url} runs without r1lab's worker extension ({error.said}); {SERVE}") from None
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{wire.url} speaks another version of the routes ({error!r}); {SERVE}") from None


def key_trouble(key_env: str | None) -> str:
    if key_env is None:
        return "needs a key: put it into an environment variable and name that in engine.key_env"
    return f"refuses the key in {key_env!r} (engine.key_env)"


def require_start(wire: Wire, facts: Facts) -> None:
    if facts.transfer not in (FILE, NCCL):
        raise ValueError(f"{wire.url} takes weights by {facts.transfer!r}, not by {FILE} or {NCCL}; {SERVE}")
    if facts.logprobs_mode != "processed_logprobs":
        raise ValueError(
            f"{wire.url} reports {facts.logprobs_mode}, which are not those of the sampling temperature; {SERVE}"
        )
    body = {"token_ids": [0], "sampling_params": {"max_tokens": 1}}
    try:
        wire.post("/inference/v1/generate", body, ANSWER_SECONDS)
    except ServerRefusal as error:
        raise ValueError(f"{wire.url} does not take token ids ({error.said}); {SERVE}") from None


def require_shape(url: str, facts: Facts, config: Mapping[str, Any]) -> None:
    mine, its = config.get("model_type"), facts.config.get("model_type")
    if mine != its:
        raise ValueError(f"{url} serves another model: {facts.model!r} is a {its}, the policy is a {mine}")
    for key in SHAPE:
        if config.get(key) != facts.config.get(key):
            raise ValueError(
                f"{url} serves a model of another shape: {facts.model!r} has {key} {facts.config.get(key)}, the policy "
                f"has {config.get(key)}; serve the model that the recipe names"
            )
