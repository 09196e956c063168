"""What every engine does before and after it samples: refuse requests that cannot be served, build rollouts.

Pure; knows no model. How tokens are sampled is the engine's own.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from r1lab.engines.text import CompletionText, Ending, TextOf
from r1lab.records import Finish, Request, Role, Rollout


def name_of(request: Request) -> str:
    """How errors name a request."""
    return f"request {request.id} (problem {request.problem_id})"


def check(request: Request, *, context: int | None, vocabulary: int, limit: str = "the model's context") -> None:
    """ValueError with the request's id where it does not fit `context` tokens or says nonsense; `limit` names those."""
    sampling, name = request.sampling, name_of(request)
    prompt, most = len(request.prompt_ids), sampling.max_new_tokens
    if context is not None and prompt + most > context:
        raise ValueError(
            f"{name}: {prompt} prompt tokens and max_new_tokens {most} exceed {limit} of "
            f"{context}; at most {max(0, context - prompt)} new tokens fit, or drop the problem"
        )
    if prompt == 0:
        raise ValueError(f"{name}: the prompt has no tokens; add text or a BOS token to it")
    if most < 1 or len(request.forced_ids) > most:
        raise ValueError(f"{name}: max_new_tokens is {most}; it must hold {len(request.forced_ids)} forced tokens")
    if len(request.forced_ids) != len(request.forced_role):
        raise ValueError(f"{name}: {len(request.forced_ids)} forced tokens need as many roles")
    worst = max(request.prompt_ids + request.forced_ids)
    if worst >= vocabulary:
        raise ValueError(f"{name}: token {worst} is not below {vocabulary}; render with the model's own tokenizer")
    if not (0 <= sampling.temperature < math.inf and 0 < sampling.top_p <= 1 and 0 <= sampling.min_p <= 1):
        raise ValueError(f"{name}: {sampling} needs temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1")
    if "" in sampling.all_stops:
        raise ValueError(f"{name}: a stop string is empty; leave it out")


def rollout(request: Request, tokens: Sequence[int], logprobs, version, finish: Finish, text_of: TextOf) -> Rollout:
    """A rollout from what was sampled, [T - F] each; the F forced tokens are put in front."""
    forced = len(request.forced_ids)
    first = version[0] if len(version) else 0
    ids = (*request.forced_ids, *tokens)
    ending = Ending(finish, request.sampling, forced)
    role = np.array([*request.forced_role, *[Role.POLICY] * len(tokens)], dtype=np.int8)
    engine_logprobs = np.concatenate([np.full(forced, np.nan, np.float32), np.asarray(logprobs, np.float32)])
    versions = np.concatenate([np.full(forced, first, np.int32), np.asarray(version, np.int32)])
    return Rollout(request, ids, role, engine_logprobs, versions, finish, text_of(ids, request.prompt_ids, ending))


def unsampled(request: Request, finish: Finish, text_of: TextOf) -> Rollout:
    """The forced tokens alone."""
    return rollout(request, (), (), (), finish, text_of)


def needs_sampling(request: Request) -> bool:
    """Whether a token is left to sample."""
    return len(request.forced_ids) < request.sampling.max_new_tokens


@contextmanager
def emptied_by_errors(clear: Callable[[], None]) -> Iterator[None]:
    """Call `clear` where the block does not come to its end."""
    with ExitStack() as undo:
        undo.callback(clear)
        yield
        undo.pop_all()


def vocabulary_size(model) -> int:
    """Tokens that the output layer scores."""
    return model.get_output_embeddings().weight.shape[0]


def eos_ids(model, tokenizer) -> set[int]:
    """Every id that ends a completion: the generation config's and the tokenizer's."""
    listed = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = [] if listed is None else [listed] if isinstance(listed, int) else list(listed)
    return {int(i) for i in (*listed, tokenizer.eos_token_id) if i is not None}


def plain_text(tokenizer) -> TextOf:
    """The completion's text alone, whatever the prompt."""
    text = CompletionText(tokenizer)
    return lambda ids, _, ending: text.of(ids, ending)
