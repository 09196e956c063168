"""Knobs of what samples completions. Not which engine is taken (`r1lab.engines.factory`)."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from r1lab.recipe.base import FREE, RESULT, ROUNDING, Above, Config, Count, Positive


class EngineConfig(Config):
    """What samples completions."""

    kind: Annotated[str, RESULT] = "auto"
    """auto, local, vllm, server, or a dotted path; auto: vllm where it is there and worth it, else local."""
    urls: Annotated[tuple[str, ...], ROUNDING] = ()
    """Servers, as `r1lab serve` starts them (server)."""
    replicas: Annotated[Count, ROUNDING] = 0
    """Servers to start on this machine and end with the run, in place of `urls`; of what `auto` would take (server)."""
    key_env: Annotated[str | None, FREE] = None
    """Environment variable that holds the servers' key (server)."""
    deadline: Annotated[Above, FREE] = 120.0
    """Seconds without a token after which a server with work is given up and its work done again (server)."""
    reconnect: Annotated[Above, FREE] = 600.0
    """Seconds to wait for a server where none is left (server)."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], RESULT] = "auto"
    """Of the rollouts; auto: on a GPU and with vllm what the policy computes in, else float32."""
    max_batch: Annotated[Positive, ROUNDING] = 512
    """Completions decoded at once (local)."""
    max_num_seqs: Annotated[Positive, ROUNDING] = 256
    """Completions decoded at once (vllm; server: at each)."""
    max_model_len: Annotated[Positive | None, ROUNDING] = None
    """Tokens of prompt and completion that keys are kept for (vllm); default: the model's context."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1, strict=True), ROUNDING] = 0.4
    """Share of a GPU's memory that is vLLM's, the trainer needs the rest; on a CPU, of keys alone."""
    tensor_parallel: Annotated[Positive, ROUNDING] = 1
    """GPUs that one model is spread over (vllm)."""
    enforce_eager: Annotated[bool | None, ROUNDING] = None
    """No compiled graphs (vllm); default: true on a CPU, where compiling takes most of a minute."""

    @model_validator(mode="before")
    @classmethod
    def _by_kind(cls, given: Any) -> Any:
        """`engine: local` is `engine: {kind: local}`."""
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _whole(self):
        if (self.kind == "server") != (bool(self.urls) or bool(self.replicas)):
            raise ValueError(
                "`kind: server` and `urls: [http://host:port, ...]` (or `replicas: 2`) go together; "
                "r1lab serve MODEL starts such a server, and --cluster brings its own"
            )
        if self.urls and self.replicas:
            raise ValueError(f"`urls` are servers of others and `replicas: {self.replicas}` the run's own; give one")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError(f"`urls` names {max(self.urls, key=self.urls.count)!r} twice")
        return self
