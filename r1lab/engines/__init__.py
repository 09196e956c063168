"""Engines sample completions from the policy. Built-ins by name, a user's own by dotted path `package.module:Class`."""

from r1lab import plugin
from r1lab.engines.protocol import Engine

__all__ = ["ENGINES", "Engine", "make", "resolve"]

ENGINES = {
    "auto": "r1lab.engines.local:LocalEngine",
    "local": "r1lab.engines.local:LocalEngine",
}
"""Paths, so that an engine's own dependencies load only where it is used."""


def resolve(kind: str) -> str:
    """The name to pin in a manifest: what `auto` stands for here; any other name as it is."""
    return "local" if kind == "auto" else kind


def make(kind: str, model, tokenizer, **settings) -> Engine:
    """An engine for the policy `model`, read for its shape only: weights come with the first `sync`.

    An unknown kind is a ValueError that names the nearest built-in.
    """
    found = plugin.find(ENGINES, kind, "engine")
    maker = plugin.find({}, found, "engine") if isinstance(found, str) else found
    return maker(model, tokenizer, **settings)
