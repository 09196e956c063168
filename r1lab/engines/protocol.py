"""The protocol of engines: requests go in, rollouts come out as they finish, weights are replaced in between.

Shaped for asynchrony also where the engine is a loop in this process. An engine knows no reward and no verifier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from r1lab.records import Request, RequestId, Rollout

if TYPE_CHECKING:  # a recipe is checked without torch
    import torch
    from torch import Tensor

NamedTensors = Iterable[tuple[str, "Tensor"]]


class Engine(Protocol):
    """Samples completions. A built-in or a plug-in is a callable `(model, tokenizer, **settings) -> Engine`; one that
    inherits from here has the defaults of the traits, and a plug-in that does not is given them."""

    version: int
    """The policy's version (optimizer updates so far) of the weights held; -1 before the first `sync`."""
    dtype: torch.dtype | None = None
    """What it holds weights in, so that they may come in it; None: as they are."""
    has_own_layout: bool = False
    """It repacks weights or fetches them from elsewhere: each sync is probed, by `vocabulary`, `context`, `dtype`."""
    shared_names: Sequence[str] = ()
    """Of what samples for all ranks of a run, where an engine's own weights are not this process's alone: draw n is
    number n's, modulo how many there are, and a probe asks each."""
    takes_adapter: bool = False
    """A LoRA adapter comes as its matrices instead of merged into the weights."""
    weights_follow: bool = False
    """Set where every `sleep` ends in a sync of all weights, so that nothing need be kept meanwhile."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests, at any time. ValueError with the id of one that cannot be served; none is queued then."""

    def completed(self) -> Iterator[Rollout]:
        """Yield rollouts as they finish, until everything submitted has been yielded. May be left and called again."""
        ...

    def abort(self, request_ids: Iterable[RequestId]) -> None:
        """End these at their next token with finish `abort`; they are still yielded. Ids not in flight are ignored."""

    def sync(self, named_tensors: NamedTensors, version: int) -> None:
        """Replace all weights. Names are those of the model's `named_parameters`; a tied tensor may come once.

        An adapter comes merged into them. An engine whose `takes_adapter` is true is sent its matrices
        instead, by peft's names, and the weights below only while `version` is -1.
        """

    def sleep(self) -> None:
        """Give back the accelerator's memory while the trainer works: from a block's end to `publish`."""

    def wake(self) -> None:
        """Undo `sleep`; `submit` does it too."""

    def agree(self) -> None:
        """Settle who of `shared_names` lives, for all ranks alike: a collective between two waves, where it names
        any."""

    def close(self) -> None:
        """Give back everything. The engine is not used again."""
