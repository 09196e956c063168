"""From a request to vLLM's sampling parameters, and from what vLLM sampled back to a rollout.

Pure, and the same for an engine in this process and for one behind HTTP, whose completions take these names too. It
does not import vLLM and knows no weights.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from r1lab.engines import rollouts
from r1lab.engines.text import TextOf
from r1lab.errors import RunError
from r1lab.records import Finish, Request, Rollout

COLDEST, HOTTEST = 0.01, 2.0
"""vLLM silently raises a temperature between 0 and the first to it, and refuses one past the second."""


@dataclass(frozen=True, eq=False)
class VllmCompletion:
    """What vLLM says of one request that ended."""

    token_ids: Sequence[int]
    """[n], the stop token included."""
    logprobs: Sequence[float]
    """[n], of the sampled tokens."""
    finish_reason: Literal["stop", "length", "abort"]
    """`stop`, `length` or `abort`."""
    stop_reason: int | str | None
    """The id or the string that stopped it."""
    versions: Sequence[tuple[int, int]]
    """(version, tokens) in the order of the tokens: which weights wrote how many."""


def check(request: Request, *, context: int | None, vocabulary: int) -> None:
    """ValueError with the request's id where vLLM cannot serve it as it is meant."""
    rollouts.check(request, context=context, vocabulary=vocabulary, limit="engine.max_model_len")
    if request.sampling.temperature != 0 and not COLDEST <= request.sampling.temperature <= HOTTEST:
        raise ValueError(
            f"{rollouts.name_of(request)}: vLLM samples at temperatures from {COLDEST} to {HOTTEST}, or at 0 (greedy), "
            f"not at {request.sampling.temperature}; take one of those, or engine.kind: local"
        )


def prompt_ids(request: Request) -> list[int]:
    """What vLLM continues: the prompt and the forced tokens."""
    return [*request.prompt_ids, *request.forced_ids]


def parameters(request: Request, eos: Collection[int]) -> dict[str, Any]:
    """Sampling parameters by vLLM's names: every id of `eos` stops and is kept, stop strings keep the ids as sampled.

    Stop strings are looked for in the text of the sampled tokens, special ones included, as the local engine does.
    `logprobs: 0` asks for the sampled token's alone.
    """
    sampling = request.sampling
    return {
        **{name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")},
        "seed": request.seed,
        "max_tokens": sampling.max_new_tokens - len(request.forced_ids),
        "stop": list(sampling.all_stops),
        "stop_token_ids": sorted(eos),
        "ignore_eos": True,  # `stop_token_ids` has them all
        "skip_special_tokens": False,
        "logprobs": 0,
    }


def finish(sampled: VllmCompletion) -> Finish:
    """`eos`, `stop`, `length` or `abort`: vLLM says `stop` of ids and of strings."""
    if sampled.finish_reason != "stop":
        return sampled.finish_reason
    return "eos" if isinstance(sampled.stop_reason, int) else "stop"


def rollout(request: Request, sampled: VllmCompletion, text_of: TextOf) -> Rollout:
    """A request's rollout. RunError that names it where a log-probability is not finite or something is missing."""
    logprobs = np.asarray(sampled.logprobs, np.float32)
    version = np.repeat(*np.array(sampled.versions, np.int64).reshape(-1, 2).T)
    if not len(sampled.token_ids) == len(logprobs) == len(version):
        raise RunError(
            f"{rollouts.name_of(request)}: the engine sent {len(sampled.token_ids)} tokens, {len(logprobs)} "
            f"log-probabilities and versions of {len(version)}; is its vLLM of a supported version?"
        )
    bad = np.flatnonzero(~np.isfinite(logprobs))
    if len(bad):
        raise RunError(
            f"{rollouts.name_of(request)}: the log-probability of token {len(request.forced_ids) + bad[0]} is "
            f"{logprobs[bad[0]]} at policy version {version[bad[0]]}; the weights diverged or dtype is too narrow"
        )
    return rollouts.rollout(request, sampled.token_ids, logprobs, version, finish(sampled), text_of)


def spans(versions: Iterable[tuple[str, int, int]]) -> list[tuple[int, int]]:
    """`VllmCompletion.versions` of vLLM's spans (version, start, end)."""
    return [(int(version), end - start) for version, start, end in versions]
