"""The engine for a CPU or one GPU: a decoding loop over a stock transformers model, in this process.

It keeps its own copy of the weights. Below some ten million parameters it is the fastest there is on a CPU; it is not
meant for large models, where paged attention and continuous batching pay (`vllm`). Requests are served in waves of
`max_batch` in the order they came; the same requests give the same rollouts, whatever was served before.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import torch
from transformers import AutoModelForCausalLM

from r1lab.engines import rollouts
from r1lab.engines.local.batch import Wave
from r1lab.engines.local.cache import ATTENTION
from r1lab.engines.local.sampling import StopStrings
from r1lab.engines.protocol import Engine, NamedTensors
from r1lab.engines.text import TextOf
from r1lab.policy.location import is_remote_code_trusted
from r1lab.records import Request, RequestId, Rollout

ATTENDING = {"full_attention", "sliding_attention", "chunked_attention"}


class LocalEngine(Engine):
    """An `Engine` of the shape of `model`, a transformers causal LM; its weights come with the first `sync`."""

    def __init__(
        self,
        model,
        tokenizer,
        *,
        max_batch: int = 512,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        text_of: TextOf | None = None,
    ):
        """`text_of` makes `Rollout.text`; `device` is the model's where it is None."""
        if max_batch < 1:
            raise ValueError(f"max_batch is {max_batch}; it must be at least 1")
        self.version = -1
        self.max_batch, self.dtype = max_batch, dtype
        self.device = torch.device(device if device is not None else model.device)
        self.model: torch.nn.Module = blank(model, dtype).to(self.device)
        self.context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.vocabulary = rollouts.vocabulary_size(model)
        self.is_eos = torch.zeros(self.vocabulary, dtype=torch.bool, device=self.device)
        self.is_eos[[i for i in rollouts.eos_ids(model, tokenizer) if i < self.vocabulary]] = True
        self.stops = StopStrings(tokenizer)
        self.text_of = text_of or rollouts.plain_text(tokenizer)
        self.queue: deque[Request] = deque()
        self.ready: deque[Rollout] = deque()
        """Finished, not yet yielded."""
        self.aborted: set[RequestId] = set()
        self.wave: Wave | None = None

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests. ValueError with the request's id where it does not fit the model or says nonsense."""
        requests = list(requests)
        for request in requests:
            rollouts.check(request, context=self.context, vocabulary=self.vocabulary)
        self.wake()
        self.queue.extend(requests)

    def completed(self) -> Iterator[Rollout]:
        """Rollouts as they finish, until none is left. A step that fails (RunError) empties the engine."""
        while self.ready or self.queue or self.wave:
            if not self.ready:
                self.ready.extend(self.advance())
            while self.ready:
                finished = self.ready.popleft()
                self.aborted.discard(finished.request.id)
                yield finished

    @torch.inference_mode()
    def advance(self) -> list[Rollout]:
        """One step of the wave, or the start of the next one; returns what ended."""
        with rollouts.emptied_by_errors(self.clear):
            ended = self.wave.step(self.version, self.aborted) if self.wave else self.start_wave()
        if self.wave and not len(self.wave.rows):
            self.wave = None
        return ended

    def start_wave(self) -> list[Rollout]:
        """Prompts of the next `max_batch` requests; what has nothing to sample ends here."""
        if self.version < 0:
            raise RuntimeError("the engine has no weights yet; call r1lab.engines.sync.publish first")
        batch = [self.queue.popleft() for _ in range(min(self.max_batch, len(self.queue)))]
        ended, rest = [], []
        for request in batch:
            if request.id in self.aborted:
                ended.append(rollouts.unsampled(request, "abort", self.text_of))
            elif rollouts.needs_sampling(request):
                rest.append(request)
            else:
                ended.append(rollouts.unsampled(request, "length", self.text_of))
        if rest:
            self.wave = Wave(
                self.model, rest, version=self.version, is_eos=self.is_eos, stops=self.stops, text_of=self.text_of
            )
        return ended

    def abort(self, request_ids: Iterable[RequestId]) -> None:
        """These end before their next token; `completed` still yields them."""
        known = {request.id for request in self.queue}
        if self.wave:
            known |= {self.wave.requests[row].id for row in self.wave.rows.tolist()}
        self.aborted |= known & set(request_ids)

    @torch.no_grad()
    def sync(self, named_tensors: NamedTensors, version: int) -> None:
        """Copy every weight in. ValueError where a name is unknown, a shape differs or a weight is missing.

        Sequences in flight go on with the new weights over the keys of the old ones; `Rollout.version` says which.
        """
        self.version = -1
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        buffers = dict(self.model.named_buffers())
        missing = {id(parameter): name for name, parameter in parameters.items()}
        for name, tensor in named_tensors:
            target = parameters.get(name, buffers.get(name))
            if target is None or target.shape != tensor.shape:
                has = "no such weight" if target is None else f"shape {list(target.shape)}, not {list(tensor.shape)}"
                raise ValueError(f"sync of {name!r}: the engine has {has}; sync the model that it was made for")
            target.copy_(tensor)
            missing.pop(id(target), None)
        if missing:
            raise ValueError(f"sync left out {len(missing)} weights, {next(iter(missing.values()))!r} first; send all")
        self.version = version

    def sleep(self) -> None:
        """Move the weights of a GPU to the host. Sequences in flight must be drained first."""
        if self.wave:
            raise RuntimeError("the engine has sequences in flight; drain completed() before sleep()")
        self.model.to("cpu")

    def wake(self) -> None:
        self.model.to(self.device)

    def clear(self) -> None:
        """Forget every request."""
        self.queue.clear()
        self.ready.clear()
        self.aborted.clear()
        self.wave = None

    def close(self) -> None:
        self.clear()
        self.model = None  # pyright: ignore[reportAttributeAccessIssue]  # gives the weights back; not used again


def blank(model, dtype: torch.dtype):
    """A model of the same config with weights that mean nothing. Leaves the global random state alone."""
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ATTENDING)
    if not kinds <= ATTENDING:
        raise ValueError(
            f"the local engine cannot run layers of {', '.join(sorted(kinds - ATTENDING))} ({config.model_type}); "
            f"use another engine"
        )
    # Where the policy needs transformers' eager attention (sinks, soft caps), so does its engine.
    attention = "eager" if model.config._attn_implementation == "eager" else ATTENTION
    with torch.random.fork_rng(devices=[]):
        own = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention, trust_remote_code=is_remote_code_trusted()
        )
    return own.eval().requires_grad_(False)
