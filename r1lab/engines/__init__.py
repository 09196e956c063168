"""Engines sample completions from the policy. Built-ins by name, a user's own by dotted path `package.module:Class`."""

from r1lab import plugin
from r1lab.engines.protocol import Engine

__all__ = ["ENGINES", "Engine", "make", "resolve"]

ENGINES = {
    "local": "r1lab.engines.local.engine:LocalEngine",
    "vllm": "r1lab.engines.vllm.engine:VllmEngine",
    "server": "r1lab.engines.server.engine:ServerEngine",
}
"""Paths, so that an engine's own dependencies load only where it is used. `auto` is `r1lab.engines.factory`'s."""


def resolve(kind: str) -> str:
    """The engine by name where no model is known yet: `auto` is then the local one."""
    return "local" if kind == "auto" else kind


def make(kind: str, model, tokenizer, **settings) -> Engine:
    """An engine for the policy `model`, read for its shape only: weights come with the first `sync`.

    An unknown kind is a ValueError that names the nearest built-in.
    """
    found = plugin.find(ENGINES, kind, "engine")
    maker = plugin.find({}, found, "engine") if isinstance(found, str) else found
    return maker(model, tokenizer, **settings)
