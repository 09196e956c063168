"""Weights from the policy to an engine. How they travel is the engine's business (`Engine.sync`)."""

from collections.abc import Callable, Iterable

from torch import Tensor

from r1lab.engines.protocol import Engine


def publish(engine: Engine, named_tensors: Callable[[], Iterable[tuple[str, Tensor]]], version: int) -> bool:
    """Bring `engine` to `version`; True where weights moved. `named_tensors` is only called then."""
    if engine.version == version:
        return False
    engine.sync(named_tensors(), version)
    return True
