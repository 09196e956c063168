"""The engine over vLLM in this process: paged attention, continuous batching, prompts of a group computed once.

Colocated with the trainer: on a GPU it sleeps while the trainer works. Weights come by `sync`, from memory to memory;
what is on disk is never read. An adapter stays one: the weights below it come once, its matrices at every sync, and
every rollout is of both. Requests carry their own seeds, so a rollout does not depend on its company beyond
rounding. On a CPU the same requests give the same bytes; on a GPU they do in the same company and order only, since
kernels split sums by what runs beside them. Not a client of vLLM servers. Written against vLLM 0.32.

How vLLM is started stands in `start`, what it cannot do in `diagnose`, its workers' side in `worker`, what an adapter
needs in `lora`.
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from r1lab.engines import rollouts
from r1lab.engines.checksum import Checksum
from r1lab.engines.protocol import Engine, NamedTensors
from r1lab.engines.text import TextOf
from r1lab.engines.vllm import lora as vllm_adapter
from r1lab.engines.vllm import requests as vllm_requests
from r1lab.engines.vllm.diagnose import explained
from r1lab.engines.vllm.start import description, gpus, start, untouched
from r1lab.engines.vllm.weights import complete, expected_matrices, expected_weights, split_adapter
from r1lab.errors import RunError
from r1lab.policy import lora
from r1lab.records import Request, RequestId, Rollout

MEMORY = ("weights", "kv_cache")
"""vLLM's names of what sleeps, in the order in which it wakes."""


class VllmEngine(Engine):
    """An `Engine` of the shape of `model`, a transformers causal LM; its weights come with the first `sync`."""

    has_own_layout = True
    """Weights are repacked on arrival, so each sync is probed (`r1lab.engines.sync`)."""
    about = ""
    """For the manifest: what of it one must know to read the numbers."""
    weights_follow = False
    """Whether a sync of all weights ends each sleep: then they are dropped meanwhile, not copied to the host."""

    def __init__(
        self,
        model,
        tokenizer,
        *,
        dtype: torch.dtype = torch.float32,
        max_model_len: int | None = None,
        max_num_seqs: int = 256,
        gpu_memory_utilization: float = 0.4,
        tensor_parallel: int = 1,
        enforce_eager: bool | None = None,
        text_of: TextOf | None = None,
    ):
        """`max_model_len` is the model's context where it is None; `enforce_eager` is true on a CPU where it is None.

        On a CPU `gpu_memory_utilization` is the largest share of memory for keys. ValueError, in one line, where vLLM
        does not start.
        """
        self.version, self.dtype, self.num_workers = -1, dtype, tensor_parallel
        self.llm: Any = None
        """vLLM's `LLMEngine`."""
        self.weights, self.matrices = expected_weights(model), {}
        self.adapter = lora.adapter_of(model)
        if self.adapter and torch.cuda.is_available() and dtype == torch.float32:
            self.adapter = None
            self.about = "vLLM adapts no float32 on a GPU: the adapter comes merged into the weights"
        self.vocabulary = rollouts.vocabulary_size(model)
        self.eos = {i for i in rollouts.eos_ids(model, tokenizer) if i < self.vocabulary}
        self.text_of = text_of or rollouts.plain_text(tokenizer)
        self.flying: dict[str, Request] = {}
        """What vLLM is at work on, by the name given to it."""
        self.names = map(str, count())
        self.ready: deque[Rollout] = deque()
        """Finished, not yet yielded."""
        self.asleep: list[str] = []
        """What of `MEMORY` was given back."""
        self.owns_group = not torch.distributed.is_initialized()
        options = {
            "dtype": str(dtype).removeprefix("torch."),
            "max_model_len": max_model_len,
            "max_num_seqs": max_num_seqs,
            "gpu_memory_utilization": gpu_memory_utilization,
            "tensor_parallel_size": tensor_parallel,
            "enforce_eager": not torch.cuda.is_available() if enforce_eager is None else enforce_eager,
        }
        if self.adapter is not None:
            self.matrices = expected_matrices(model)
            options |= vllm_adapter.options(self.adapter)
        with untouched(), description(model, tokenizer) as folder:
            try:
                self.llm = start(folder, model.config, options)
            except (ValueError, RuntimeError, OSError, MemoryError, AssertionError) as error:
                raise ValueError(explained(error, options)) from error
        self.refuse_other_device(model.device)
        self.context = self.llm.model_config.max_model_len
        if self.adapter is not None:
            self.refuse_unknown_layers(self.adapter)

    @property
    def takes_adapter(self) -> bool:
        """Whether an adapter comes apart from the weights (`Engine.sync`)."""
        return self.adapter is not None

    def refuse_unknown_layers(self, adapter: lora.Adapter) -> None:
        """ValueError where vLLM cannot adapt one of the policy's layers."""
        lacking = self.llm.collective_rpc("r1lab_lacking", args=(adapter.layers,))[0]
        if lacking:
            self.close()
            raise ValueError(
                f"vLLM cannot adapt {lacking[0]}; leave {lacking[0].rpartition('.')[2]} out of lora.targets, or take "
                "kind: local"
            )

    def refuse_other_device(self, device: torch.device) -> None:
        """ValueError where vLLM took another GPU than the model's: ranks would share one, and others stand idle."""
        if device.type != "cuda":
            return
        taken = self.llm.collective_rpc("r1lab_device")[0]
        if taken != str(device):
            self.close()
            raise ValueError(
                f"vLLM computes on {taken} and the model on {device}; start each process with its own GPU alone "
                "(CUDA_VISIBLE_DEVICES), or take kind: local"
            )

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests. ValueError with the request's id where vLLM cannot serve one; none is queued then."""
        requests = list(requests)
        for request in requests:
            vllm_requests.check(request, context=self.context, vocabulary=self.vocabulary)
        self.wake()
        if not self.flying and not any(request.id.turn for request in requests):
            self.llm.reset_prefix_cache()  # what was served before must not show, not even by rounding
        beside = vllm_adapter.request() if self.takes_adapter else None
        for request in requests:
            if rollouts.needs_sampling(request):
                name = next(self.names)
                prompt = {"prompt_token_ids": vllm_requests.prompt_ids(request)}
                self.llm.add_request(name, prompt, parameters(request, self.eos), lora_request=beside)
                self.flying[name] = request
            else:
                self.ready.append(rollouts.unsampled(request, "length", self.text_of))

    def completed(self) -> Iterator[Rollout]:
        """Rollouts as they finish, until none is left. A step that fails (RunError) empties the engine."""
        while self.ready or self.flying:
            if not self.ready:
                self.advance()
            while self.ready:
                yield self.ready.popleft()

    def advance(self) -> None:
        """One step of vLLM; what ended in it is ready."""
        if self.version < 0:
            raise RuntimeError("the engine has no weights yet; call r1lab.engines.sync.publish first")
        with rollouts.emptied_by_errors(self.clear):
            with torch.random.fork_rng(devices=gpus()):
                outputs = self.llm.step()
            for output in outputs:
                if output.finished:
                    request = self.flying.pop(output.request_id)
                    self.ready.append(vllm_requests.rollout(request, sampled(output.outputs[0]), self.text_of))

    def abort(self, request_ids: Iterable[RequestId]) -> None:
        """These end as they are; `completed` still yields them."""
        wanted = set(request_ids)
        for name in [name for name, request in self.flying.items() if request.id in wanted]:
            so_far = sampled_so_far(self.llm.output_processor, name)
            self.llm.abort_request([name])
            self.ready.append(vllm_requests.rollout(self.flying.pop(name), so_far, self.text_of))

    def sync(self, named_tensors: NamedTensors, version: int) -> None:
        """Replace every weight, or the adapter alone (`Engine.sync`). ValueError where a name is unknown, a shape
        differs or a weight is missing; RunError where what arrived is not what was sent.

        Sequences in flight go on with the new weights, over keys computed anew; `Rollout.version` says which. Weights
        pass through one by one: of a sharded model no more than a bucket is whole at a time.
        """
        self._wake(MEMORY[:1])
        keeps_weights, self.version = self.takes_adapter and self.version >= 0, -1
        if self.adapter is None:
            self.send("weights", version, complete(named_tensors, self.weights), "r1lab_load")
        else:
            self._sync_adapted(self.adapter, named_tensors, version, keeps_weights)
        self._wake(MEMORY)
        self.llm.reset_prefix_cache(reset_running_requests=bool(self.flying))
        self.llm.set_weight_version(str(version))
        self.version = version

    def _sync_adapted(
        self, adapter: lora.Adapter, named_tensors: NamedTensors, version: int, keeps_weights: bool
    ) -> None:
        """Replace the adapter and, where they come with it or are not there yet, the weights below it; nothing where
        either is not whole."""
        weights, matrices = split_adapter(named_tensors)
        weights = [] if keeps_weights and not weights else list(complete(weights, self.weights))
        matrices = list(complete(matrices, self.matrices))
        if weights:
            self.send("weights", version, weights, "r1lab_load")
        self.send("an adapter", version, matrices, "r1lab_adapt", vllm_adapter.settings(adapter))

    def send(self, what: str, version: int, tensors: Iterable[tuple[str, Tensor]], method: str, *more) -> None:
        """Send tensors to every worker's `method`. RunError where the checksum of what arrived there is another.

        The one worker of this process takes them as they come; several, in processes of their own, as one list.
        """
        sent = Checksum()
        tensors = sent.over(tensors)
        with untouched():
            given = tensors if self.num_workers == 1 else list(tensors)
            received = self.llm.collective_rpc(method, args=(given, *more))
        for rank, digest in enumerate(received):
            if digest != sent.digest():
                raise RunError(
                    f"sync of version {version}: sent {what} of checksum {sent.digest()}, received by worker {rank} "
                    f"{digest}; nothing is sampled from them"
                )

    def sleep(self) -> None:
        """Give a GPU's memory back: weights go to the host or, where they follow anew, are dropped, and so are keys.
        Nothing on a CPU."""
        if self.flying:
            raise RuntimeError("the engine has sequences in flight; drain completed() before sleep()")
        if not gpus() or self.asleep:
            return
        drops_weights = self.weights_follow and not self.takes_adapter
        try:
            self.llm.sleep(level=2 if drops_weights else 1)
        except AssertionError as error:
            raise RunError(f"engine: {explained(error, {})}") from error
        self.asleep = list(MEMORY)
        if drops_weights:
            self.version = -1

    def wake(self) -> None:
        """Undo `sleep`. An engine without weights gets memory for them alone: that of keys comes with the weights,
        since until then the trainer's copies stand beside them."""
        self._wake(MEMORY if self.version >= 0 else MEMORY[:1])

    def _wake(self, names: Sequence[str]) -> None:
        """Take the memory of these names again, where it was given back."""
        if given_back := [name for name in names if name in self.asleep]:
            self.llm.wake_up(given_back)
            self.asleep = [name for name in self.asleep if name not in given_back]

    def clear(self) -> None:
        """Forget every request."""
        self.llm.abort_request(list(self.flying))
        self.flying.clear()
        self.ready.clear()

    def close(self) -> None:
        """Give back memory and the process group that vLLM made."""
        self.clear()
        self._wake(MEMORY)  # vLLM's allocator frees what sleeps wrongly, and then starts no second time
        self.llm.engine_core.shutdown()
        self.llm = None
        if self.owns_group:
            from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()
        gc.collect()


def parameters(request: Request, eos: set[int]):
    """A request's `vllm.SamplingParams`. Text is made only where stop strings are looked for in it."""
    # Without vLLM a type checker takes this folder for it.
    from vllm import SamplingParams  # pyright: ignore[reportAttributeAccessIssue]
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        **vllm_requests.parameters(request, eos),
        detokenize=bool(request.sampling.all_stops),
        flat_logprobs=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def sampled(output) -> vllm_requests.VllmCompletion:
    """What was sampled, of a finished `vllm.outputs.CompletionOutput` with flat log-probabilities."""
    versions = vllm_requests.spans((each.version, each.start, each.end) for each in output.weight_versions or ())
    return vllm_requests.VllmCompletion(
        output.token_ids, output.logprobs.logprobs, output.finish_reason, output.stop_reason, versions
    )


def sampled_so_far(processor, name: str) -> vllm_requests.VllmCompletion:
    """What was sampled so far, of a request that is still in vLLM's output processor."""
    state = processor.request_states[processor.external_req_ids[name][0]]
    versions = [(each.version, each.start, each.end) for each in state._weight_version_spans() or ()]
    tokens, logprobs = list(state.detokenizer.output_token_ids), list(state.logprobs_processor.logprobs.logprobs)
    return vllm_requests.VllmCompletion(tokens, logprobs, "abort", None, vllm_requests.spans(versions))
