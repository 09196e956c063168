"""Every knob of a run: strict pydantic models. Not how a recipe is read from a file (`r1lab.recipe.load`)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from r1lab.recipe.base import Above, Amount, Config, Count, Nucleus, Positive, Share, Use, by_name
from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.engine import EngineConfig
from r1lab.recipe.optimizer import LoraConfig, OptimizerConfig


class SamplingConfig(Config):
    """Beyond temperature and length; training samples from the policy itself unless biased sampling is allowed."""

    top_p: Nucleus = 1.0
    """Nucleus: share of probability kept. Result."""
    top_k: Count = 0
    """Tokens kept; 0: off. Result."""
    min_p: Share = 0.0
    """Smallest share of the top probability; 0: off. Result."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion and leave the text that is read of it. Result."""
    stop_after: tuple[str, ...] = ()
    """Strings that end a completion and stay in its text: `</answer>`, a closing fence. Result."""
    allow_biased_sampling: bool = False
    """Train on samples of a truncated distribution all the same. Result."""

    @model_validator(mode="after")
    def _strings(self):
        if "" in self.stop + self.stop_after:
            raise ValueError("a stop string is empty; leave it out")
        if both := set(self.stop) & set(self.stop_after):
            raise ValueError(f"{min(both)!r} stands under `stop`, which leaves the text, and under `stop_after`")
        return self

    @property
    def biased(self) -> bool:
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


class WorkersConfig(Config):
    """The pool of verifier processes."""

    count: Positive = 2
    """Processes at once. Free."""
    deadline: Above = 5.0
    """Seconds a completion's check may take. Result."""
    memory_mb: Annotated[int, Field(ge=64, strict=True)] = 2048
    """Address space of one process, in MiB. Result."""


class EvalConfig(Config):
    """Held-out problems, scored by the same verifiers; never touches training randomness."""

    sets: dict[str, SourceConfig] = {}
    """Sets by name. Free."""
    every: Count = 0
    """Steps between evaluations; 0: only at the stage's end. Free."""
    at_start: bool = True
    """Evaluate before the first step. Free."""
    n: Positive = 1
    """Completions per problem. Free."""
    temperature: Amount = 1.0
    """0 is greedy. Free."""
    top_p: Nucleus = 1.0
    """Nucleus: share of probability kept. Free."""
    max_new_tokens: Positive | None = None
    """Default: the stage's. Free."""
    allow_masked_overlap: tuple[str, ...] = ()
    """Sets that may share problems with the training data once numbers are masked. Free."""
    keep_best: str | None = None
    """Metric, such as `eval/test/avg`, whose best step becomes the stage's model. Result."""


class StopConfig(Config):
    """When a stage ends before its steps are done."""

    max_tokens: Positive | None = None
    """Budget of the whole run so far: sampled + trained completion tokens. Free."""
    max_flops: Above | None = None
    """The same in FLOPs of sampling and training. Free."""
    max_hours: Above | None = None
    """Hours of this stage, over all its resumes; such a run is not bit-exact. Free."""
    patience: Positive | None = None
    """Evaluations without a better `metric`. Free."""
    metric: str | None = None
    """Metric that patience watches, such as `eval/test/avg`. Free."""

    @model_validator(mode="after")
    def _whole(self):
        if (self.patience is None) != (self.metric is None):
            raise ValueError("`patience` and `metric` go together")
        return self


class ObjectiveConfig(Config):
    """What is learned from a block: a preset, and what differs from it (`r1lab.objective`)."""

    preset: str | None = None
    """Default: `default` for rl, `sft` for sft; `r1lab.objective.presets.reinforcement` has the table. Result."""
    group: dict[str, Any] | None = None
    """{select: a rule of `r1lab.objective.rules`, its settings, refill: {max_draws: 3}}. Result."""
    advantage: Use | None = None
    """A row of `r1lab.objective.advantage`, or {use, its settings, scale: none | batch_std | whiten}. Result."""
    weight: dict[str, Use] | None = None
    """Weight function by role, such as {policy: ppo, demo: one}. Result."""
    clip_low: Amount | None = None
    """The ratio is clipped below 1 - clip_low. Result."""
    clip_high: Amount | None = None
    """The ratio is clipped above 1 + clip_high. Result."""
    mask: Use | list[Use] | None = None
    """none, or one or several of token_cleaning, top_entropy, clip_cov, kl_cov, off_policy. Result."""
    kl: dict[str, Any] | None = None
    """{estimator: k1 | k2 | k3 | k3_is | abs, coef, where: loss | reward, to_go, ref_refresh_steps}. Result."""
    entropy: dict[str, Any] | None = None
    """{coef} of the bonus; with {target, delta} it is steered. Result."""
    correction: Use | None = None
    """none, {use: tis, cap: 2.0, level: token | seq_mean | seq_sum}, or {use: icepop, low, high, level}. Result."""
    aggregate: Use | None = None
    """token_mean, seq_token_mean, seq_token_sum, or {use: const, length}. Result."""
    mix: Use | None = None
    """none: one denominator for all roles; {use: const, mu}, {use: cos, ...} or {use: roles, ...}: one each. Result."""


class StageConfig(Config):
    """What every kind of stage has."""

    name: str = ""
    """Folder and metrics name; default: the kind. Result."""
    from_: str | None = Field(default=None, alias="from")
    """Stage whose model this one starts from; default: the one before. Result."""
    model: str = "embedded"
    """`embedded`, a Hugging Face folder, or a hub id. Result."""
    trust_remote_code: bool = False
    """Run code that the model brings along, for an architecture that transformers lacks; without it such a model is
    refused. A vLLM server has an option of its own. Free."""
    data: Annotated[dict[str, SourceConfig], Field(min_length=1)]
    """One source, a list, or sources by name. Result."""
    prompt: PromptConfig = PromptConfig()
    """How a problem becomes tokens. Result."""
    verifier: Use | None = None
    """Verifier of every source that names none. Result."""
    on_bad_gold: Literal["error", "drop"] = "error"
    """Reference answers that their verifier cannot use: refuse the recipe, or leave these problems out. Free."""
    workers: WorkersConfig = WorkersConfig()
    """The pool that runs verifiers. Result."""
    engine: EngineConfig = EngineConfig()
    """What samples completions. Result."""
    stop: StopConfig = StopConfig()
    """When the stage ends early. Free."""
    steps: Positive | None = None
    """Steps of the stage; may be raised on resume. Free."""
    prompts_per_step: Positive = 32
    """Problems (demonstrations) a step learns from. Result."""
    max_new_tokens: Positive = 512
    """Longest completion, in tokens. Result."""
    sampling: SamplingConfig = SamplingConfig()
    """Truncation of the rollouts; its stop strings hold for evaluation too. Result."""
    precision: Literal["auto", "float32", "bf16_autocast", "pure_bf16"] = "auto"
    """auto: float32 weights, under bf16 autocast on GPUs. `pure_bf16` weights lose updates of 1e-6. Result."""
    threads: Count = 0
    """CPU threads of torch in each process; 0: all cores, shared among them. Rounding."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go beside metrics.jsonl; W&B stays offline unless WANDB_MODE says otherwise. Free."""

    _data_by_name = field_validator("data", mode="before")(by_name)


class TrainStageConfig(StageConfig):
    """What SFT and RL share."""

    objective: ObjectiveConfig = ObjectiveConfig()
    """What is learned from a block. Result."""
    eval: EvalConfig = EvalConfig()
    """Held-out problems, and when. Free."""
    schedule_steps: Positive | None = None
    """Steps the schedules run over; default: `steps` at the first start. Result."""
    learning_rate: Above = 1e-6
    """Learning rate after the warm-up. Result."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW and its schedule. Result."""
    micro_batch_tokens: Positive = 8192
    """Tokens forwarded at once, padding counted. Rounding."""
    attention: Literal["auto", "padded"] = "auto"
    """auto: rows without padding, a prompt once, where the model can read them; padded: a row a sample. Rounding."""
    activation_checkpointing: bool = False
    """Compute each layer's activations again in the backward pass: less memory, a third more time. Rounding."""
    model_kernels: Literal["model", "liger"] = "model"
    """Norms, rotations and activations: the model's own, or liger-kernel's (GPU, `r1lab[gpu]`). Rounding."""
    lora: LoraConfig | None = None
    """Train an adapter alone (`r1lab[lora]`); the model's folder has it merged, and apart in `adapter`. Result."""
    kernel: Literal["auto", "torch", "triton"] = "auto"
    """The loss head's implementation; auto: triton on a GPU, else torch. Rounding."""
    parallel: Literal["auto", "ddp", "fsdp2"] = "auto"
    """How several processes hold the weights: each all (ddp) or a part (fsdp2); auto: a part where the launcher asks
    for FSDP or a GPU cannot hold all. Rounding."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints. Free."""
    keep_last: Positive = 1
    """Checkpoints to keep of a stage. Free."""

    @model_validator(mode="after")
    def _one_length(self):
        epochs = getattr(self, "epochs", None)
        if self.steps is not None and epochs is not None:
            raise ValueError(f"steps {self.steps} and epochs {epochs:g} both say how long; set one to null")
        return self


class SftStageConfig(TrainStageConfig):
    """Learning from the data's solutions."""

    kind: Literal["sft"] = "sft"
    """Learns from demonstrations. Result."""
    epochs: Above | None = None
    """Passes over the demonstrations, instead of `steps`; default: one. Result."""

    # What a step of demonstrations is in the loop's terms: one update on one block, as it stands.
    group_size: ClassVar[int] = 1
    updates_per_step: ClassVar[int] = 1
    reuse: ClassVar[int] = 1
    temperature: ClassVar[float] = 1.0
    truncated: ClassVar[str] = "score"
    old_logprobs: ClassVar[str] = "recompute"
    print_samples: ClassVar[int] = 0


class RlStageConfig(TrainStageConfig):
    """Learning from rollouts and what verifiers say of them."""

    kind: Literal["rl"] = "rl"
    """Learns from rollouts. Result."""
    epochs: Above | None = None
    """Passes over the problems, instead of `steps`; those drawn for dropped groups come on top. Free."""
    group_size: Positive = 8
    """Completions per problem. Result."""
    updates_per_step: Positive = 1
    """Optimizer updates a step's block is cut into. Result."""
    reuse: Positive = 1
    """Passes over a step's block. Result."""
    temperature: Above = 1.0
    """Of the rollouts. Result."""
    reward: dict[str, float | dict[str, Any]] = {"score": 1.0}
    """Parts and their weights; `score` is the problem's own verifier. Result."""
    second_verifier: Use | None = None
    """Verifies a sample of the rollouts too, as an alarm (`r1lab.rollout.second_opinion`); changes no reward. Free."""
    truncated: Literal["score", "zero", "mask"] = "score"
    """A completion cut at `max_new_tokens`: scored as it is, given the reward of score 0, or masked out. Result."""
    old_logprobs: Literal["recompute", "engine"] = "recompute"
    """Where they come from when several updates follow one block. Result."""
    max_error_rate: Share = 0.02
    """Largest share of `error` verdicts in the last 1,000 rollouts. Free."""
    print_samples: Count = 10
    """Steps between two completions on the console, a right one and a wrong one; also after step 1; 0: none. Free."""

    @model_validator(mode="after")
    def _on_policy(self):
        if self.sampling.biased and not self.sampling.allow_biased_sampling:
            raise ValueError(
                "top_p, top_k and min_p sample from another distribution than the one that is trained; "
                "leave them at 1, 0 and 0 or set sampling.allow_biased_sampling: true"
            )
        return self
