"""Every knob of a run: strict pydantic models. Not how a recipe is read from a file (`r1lab.recipe.load`)."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from r1lab.health.rules import RULES
from r1lab.recipe.base import (
    FREE,
    RESULT,
    ROUNDING,
    Above,
    Amount,
    Config,
    Count,
    Finite,
    Nucleus,
    Positive,
    Share,
    Use,
    by_name,
)
from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.engine import EngineConfig
from r1lab.recipe.environment import EnvironmentConfig, one_of
from r1lab.recipe.optimizer import LoraConfig, OptimizerConfig
from r1lab_data.names import did_you_mean


class SamplingConfig(Config):
    """Beyond temperature and length; training samples from the policy itself unless biased sampling is allowed."""

    top_p: Annotated[Nucleus, RESULT] = 1.0
    """Nucleus: share of probability kept."""
    top_k: Annotated[Count, RESULT] = 0
    """Tokens kept; 0: off."""
    min_p: Annotated[Share, RESULT] = 0.0
    """Smallest share of the top probability; 0: off."""
    stop: Annotated[tuple[str, ...], RESULT] = ()
    """Strings that end a completion and leave the text that is read of it."""
    stop_after: Annotated[tuple[str, ...], RESULT] = ()
    """Strings that end a completion and stay in its text: `</answer>`, a closing fence."""
    allow_biased_sampling: Annotated[bool, RESULT] = False
    """Train on samples of a truncated distribution all the same."""

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

    count: Annotated[Positive, FREE] = 2
    """Processes at once."""
    deadline: Annotated[Above, RESULT] = 5.0
    """Seconds a completion's check may take."""
    memory_mb: Annotated[int, Field(ge=64, strict=True), RESULT] = 2048
    """Address space of one process, in MiB."""


class EvalConfig(Config):
    """Held-out problems, scored by the same verifiers; never touches training randomness."""

    sets: Annotated[dict[str, SourceConfig], FREE] = {}
    """Sets by name."""
    every: Annotated[Count, FREE] = 0
    """Steps between evaluations; 0: only at the stage's end."""
    at_start: Annotated[bool, FREE] = True
    """Evaluate before the first step."""
    n: Annotated[Positive, FREE] = 1
    """Completions per problem."""
    temperature: Annotated[Amount, FREE] = 1.0
    """0 is greedy."""
    top_p: Annotated[Nucleus, FREE] = 1.0
    """Nucleus: share of probability kept."""
    max_new_tokens: Annotated[Positive | None, FREE] = None
    """Default: the stage's."""
    allow_masked_overlap: Annotated[tuple[str, ...], FREE] = ()
    """Sets that may share problems with the training data once numbers are masked."""
    keep_best: Annotated[str | None, RESULT] = None
    """Metric, such as `eval/test/avg`, whose best step becomes the stage's model."""


class StopConfig(Config):
    """When a stage ends before its steps are done."""

    max_tokens: Annotated[Positive | None, FREE] = None
    """Budget of the whole run so far: sampled + trained completion tokens."""
    max_flops: Annotated[Above | None, FREE] = None
    """The same in FLOPs of sampling and training."""
    max_hours: Annotated[Above | None, FREE] = None
    """Hours of this stage, over all its resumes; such a run is not bit-exact."""
    patience: Annotated[Positive | None, FREE] = None
    """Evaluations without a better `metric`."""
    metric: Annotated[str | None, FREE] = None
    """Metric that patience watches, such as `eval/test/avg`."""
    no_signal: Annotated[Positive | None, FREE] = None
    """Steps in a row from whose rewards an rl stage could learn nothing."""

    @model_validator(mode="after")
    def _whole(self):
        if (self.patience is None) != (self.metric is None):
            raise ValueError("`patience` and `metric` go together")
        return self


class HealthConfig(Config):
    """What is watched for in training (`r1lab.health.rules`)."""

    off: Annotated[tuple[str, ...], FREE] = ()
    """Rules whose alarms are not told: errors, truncation, engine_gap, second_verifier, held_out, entropy, length,
    no_signal."""

    @field_validator("off")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in RULES]:
            raise ValueError(f"{unknown[0]!r} is no rule{did_you_mean(unknown[0], RULES)}; rules: {', '.join(RULES)}")
        return names


class KlConfig(Config):
    """KL to the reference model."""

    estimator: Annotated[Use | None, RESULT] = None
    """k1, k2, k3, k3_is, abs, or a function of your own."""
    coef: Annotated[Amount | None, RESULT] = None
    """Its weight; 0: no reference model is kept."""
    where: Annotated[Literal["loss", "reward"] | None, RESULT] = None
    """A term of the loss, or paid out of the reward."""
    to_go: Annotated[bool | None, RESULT] = None
    """In the reward: each token pays for itself and all that follow."""
    ref_refresh_steps: Annotated[Count | None, RESULT] = None
    """Steps after which the policy becomes the reference; 0: never."""


class EntropyConfig(Config):
    """The entropy bonus."""

    coef: Annotated[Finite | None, RESULT] = None
    """Its weight in the loss; below 0 it is a penalty."""
    target: Annotated[Finite | None, RESULT] = None
    """Mean entropy, in nats, that the weight is steered to."""
    delta: Annotated[Finite | None, RESULT] = None
    """How far the weight moves after a step."""

    @model_validator(mode="after")
    def _steered(self):
        if self.delta is not None and self.target is None:
            raise ValueError(f"delta {self.delta:g} stands without the target it steers to; add target")
        return self


class WeightConfig(Config):
    """The weight function of each role's tokens (`r1lab.objective.weight`)."""

    policy: Annotated[Use | None, RESULT] = None
    """What the policy sampled: ppo, gspo, cispo, sapo, unclipped and more, or a function of your own."""
    demo: Annotated[Use | None, RESULT] = None
    """Demonstrations: one, dft and more."""
    prefix: Annotated[Use | None, RESULT] = None
    """The part of a demonstration that a completion was made to begin with."""
    pair: Annotated[Use | None, RESULT] = None
    """The better and the worse of a pair: dpo and its like."""


class ObjectiveConfig(Config):
    """What is learned from a block: a preset, and what differs from it (`r1lab.objective`)."""

    preset: Annotated[str | None, RESULT] = None
    """Default: `default` for rl, `sft` for sft, `dpo` for preference; `r1lab.objective.presets` has the
    table."""
    group: Annotated[dict[str, Any] | None, RESULT] = None
    """{select: a rule of `r1lab.objective.rules`, its settings, refill: {max_draws: 3}}."""
    advantage: Annotated[Use | None, RESULT] = None
    """A row of `r1lab.objective.advantage`, or {use, its settings, scale: none | batch_std | whiten}."""
    credit: Annotated[Use | None, RESULT] = None
    """outcome: one advantage a completion; {use: steps, source: verdict | a part of the reward, form: return |
    sum_normalized | min}: one a token, from the scores of the steps that the source tells apart."""
    weight: Annotated[WeightConfig | None, RESULT] = None
    """Weight function by role, such as {policy: ppo, demo: one}."""
    clip_low: Annotated[Amount | None, RESULT] = None
    """The ratio is clipped below 1 - clip_low."""
    clip_high: Annotated[Amount | None, RESULT] = None
    """The ratio is clipped above 1 + clip_high."""
    mask: Annotated[Use | list[Use] | None, RESULT] = None
    """none, or one or several of token_cleaning, top_entropy, clip_cov, kl_cov, off_policy."""
    kl: Annotated[KlConfig | None, RESULT] = None
    """KL to the reference model."""
    entropy: Annotated[EntropyConfig | None, RESULT] = None
    """The entropy bonus, fixed or steered to a target."""
    correction: Annotated[Use | list[Use] | None, RESULT] = None
    """none, or the product of one or several: {use: tis, cap: 2.0, level: token | seq_mean | seq_sum}, {use: icepop,
    low, high, level}, {use: within, low, high, level}."""
    aggregate: Annotated[Use | None, RESULT] = None
    """token_mean, seq_token_mean, seq_token_sum, or {use: const, length}."""
    mix: Annotated[Use | None, RESULT] = None
    """none: one denominator for all roles; {use: const, mu}, {use: cos, ...} or {use: roles, ...}: one each."""


class ReferenceConfig(Config):
    """A reference that an earlier stage made."""

    stage: Annotated[str, RESULT]
    """Name of the stage whose model it is."""


class StageConfig(Config):
    """What every kind of stage has."""

    name: Annotated[str, RESULT] = ""
    """Folder and metrics name; default: the kind."""
    from_: Annotated[str | None, RESULT] = Field(default=None, alias="from")
    """Stage whose model this one starts from; default: the one before."""
    model: Annotated[str, RESULT] = "embedded"
    """`embedded`, `embedded-deep` (twice its layers), a Hugging Face folder, or a hub id."""
    trust_remote_code: Annotated[bool, FREE] = False
    """Run code that the model brings along, for an architecture that transformers lacks; without it such a model is
    refused. `r1lab serve` and `r1lab push` have an option of this name."""
    data: Annotated[dict[str, SourceConfig], Field(min_length=1), RESULT]
    """One source, a list, or sources by name."""
    prompt: Annotated[PromptConfig, RESULT] = PromptConfig()
    """How a problem becomes tokens."""
    verifier: Annotated[Use | None, RESULT] = None
    """Verifier of every source that names none."""
    environment: Annotated[EnvironmentConfig | None, RESULT] = None
    """What answers the model's turns, on every source and set that names none; without it a completion is one turn."""
    tools: Annotated[tuple[Use, ...] | None, RESULT] = None
    """Tools that the model may call: python, or functions as package.module:name; short for environment: {use: tools}.
    """
    on_bad_gold: Annotated[Literal["error", "drop"], FREE] = "error"
    """Reference answers that their verifier cannot use: refuse the recipe, or leave these problems out."""
    workers: Annotated[WorkersConfig, RESULT] = WorkersConfig()
    """The pool that runs verifiers."""
    engine: Annotated[EngineConfig, RESULT] = EngineConfig()
    """What samples completions."""
    stop: Annotated[StopConfig, FREE] = StopConfig()
    """When the stage ends early."""
    health: Annotated[HealthConfig, FREE] = HealthConfig()
    """Which alarms about its metrics are told."""
    steps: Annotated[Positive | None, FREE] = None
    """Steps of the stage; may be raised on resume."""
    prompts_per_step: Annotated[Positive, RESULT] = 32
    """Problems (demonstrations) a step learns from."""
    max_new_tokens: Annotated[Positive, RESULT] = 512
    """Longest completion, in tokens."""
    sampling: Annotated[SamplingConfig, RESULT] = SamplingConfig()
    """Truncation of the rollouts; its stop strings hold for evaluation too."""
    precision: Annotated[Literal["auto", "float32", "bf16_autocast", "pure_bf16"], RESULT] = "auto"
    """auto: float32 weights, under bf16 autocast on GPUs. `pure_bf16` weights lose updates of 1e-6."""
    threads: Annotated[Count, ROUNDING] = 0
    """CPU threads of torch in each process; 0: all cores, shared among them."""
    trackers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], FREE] = ()
    """Where metrics go beside metrics.jsonl; W&B stays offline unless WANDB_MODE says otherwise."""

    _data_by_name = field_validator("data", mode="before")(by_name)

    @model_validator(mode="after")
    def _one_environment(self):
        one_of(self.environment, self.tools)
        return self

    @field_validator("trackers", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """`trackers: wandb` is `trackers: [wandb]`, `none` is an empty list."""
        return () if given in ("none", None) else (given,) if isinstance(given, str) else given


class TrainStageConfig(StageConfig):
    """What SFT and RL share."""

    objective: Annotated[ObjectiveConfig, RESULT] = ObjectiveConfig()
    """What is learned from a block."""
    reference: Annotated[str | ReferenceConfig | None, RESULT] = None
    """The model that KL and losses on pairs compare with, or that teaches, named as `model` is, or {stage: NAME};
    default: the one the stage begins with."""
    reference_precision: Annotated[Literal["policy", "bf16"], RESULT] = "policy"
    """The reference's weights: in the type that the policy computes in, or in bfloat16, half a float32 policy's
    memory."""
    eval: Annotated[EvalConfig, FREE] = EvalConfig()
    """Held-out problems, and when."""
    schedule_steps: Annotated[Positive | None, RESULT] = None
    """Steps the schedules run over; default: `steps` at the first start."""
    learning_rate: Annotated[Above, RESULT] = 1e-6
    """Learning rate after the warm-up."""
    optimizer: Annotated[OptimizerConfig, RESULT] = OptimizerConfig()
    """AdamW and its schedule."""
    micro_batch_tokens: Annotated[Positive, ROUNDING] = 8192
    """Tokens forwarded at once, padding counted."""
    attention: Annotated[Literal["auto", "padded"], ROUNDING] = "auto"
    """auto: rows without padding, a prompt once, where the model can read them; padded: a row a sample."""
    activation_checkpointing: Annotated[bool, ROUNDING] = False
    """Compute each layer's activations again in the backward pass: less memory, a third more time."""
    model_kernels: Annotated[Literal["model", "liger"], ROUNDING] = "model"
    """Norms, rotations and activations: the model's own, or liger-kernel's (GPU, `r1lab[gpu]`)."""
    lora: Annotated[LoraConfig | None, RESULT] = None
    """Train an adapter alone (`r1lab[lora]`); the model's folder has it merged, and apart in `adapter`."""
    kernel: Annotated[Literal["auto", "torch", "triton"], ROUNDING] = "auto"
    """The loss head's implementation; auto: triton on a GPU, else torch."""
    parallel: Annotated[Literal["auto", "ddp", "fsdp2"], ROUNDING] = "auto"
    """How several processes hold the weights: each all (ddp) or a part (fsdp2); auto: a part where the launcher asks
    for FSDP or a GPU cannot hold all."""
    checkpoint_every: Annotated[Positive, FREE] = 50
    """Steps between checkpoints."""
    keep_last: Annotated[Positive, FREE] = 1
    """Checkpoints to keep of a stage."""

    @model_validator(mode="after")
    def _one_length(self):
        epochs = getattr(self, "epochs", None)
        if self.steps is not None and epochs is not None:
            raise ValueError(f"steps {self.steps} and epochs {epochs:g} both say how long; set one to null")
        return self


class DataStageConfig(TrainStageConfig):
    """What learns from completions that the data holds; nothing is sampled for it."""

    epochs: Annotated[Above | None, RESULT] = None
    """Passes over the data, instead of `steps`; default: one."""

    # What a step of data is in the loop's terms: one update on one block, as it stands.
    group_size: ClassVar[int] = 1
    updates_per_step: ClassVar[int] = 1
    reuse: ClassVar[int] = 1
    temperature: ClassVar[float] = 1.0
    truncated: ClassVar[str] = "score"
    old_logprobs: ClassVar[str] = "recompute"
    max_staleness: ClassVar[int] = 0
    print_samples: ClassVar[int] = 0


class SftStageConfig(DataStageConfig):
    """Learning from the data's solutions."""

    kind: Annotated[Literal["sft"], RESULT] = "sft"
    """Learns from demonstrations."""


class RlStageConfig(TrainStageConfig):
    """Learning from rollouts and what verifiers say of them."""

    kind: Annotated[Literal["rl"], RESULT] = "rl"
    """Learns from rollouts."""
    epochs: Annotated[Above | None, FREE] = None
    """Passes over the problems, instead of `steps`; those drawn for dropped groups come on top."""
    group_size: Annotated[Positive, RESULT] = 8
    """Completions per problem."""
    curriculum: Annotated[Use, RESULT] = "uniform"
    """Which problems are passed over or preferred when their turn comes, by what came of them: uniform, {use:
    no_positive_resampling, rate}, pools, greso, mopps, or, by kind of problem, {use: sec | dump, by: a column}."""
    updates_per_step: Annotated[Positive, RESULT] = 1
    """Optimizer updates a step's block is cut into."""
    reuse: Annotated[Positive, RESULT] = 1
    """Passes over a step's block."""
    temperature: Annotated[Above, RESULT] = 1.0
    """Of the rollouts."""
    reward: Annotated[dict[str, float | dict[str, Any]], RESULT] = {"score": 1.0}
    """Parts and their weights; `score` is the problem's own verifier, a learned part one of `r1lab.recipe.scorers`."""
    train_verifier: Annotated[Use | None, RESULT] = None
    """Replaces the problems' own verdicts, in training alone: a control {use: control, kind: random, rate} (or kind
    shuffled, format), or {use: noisy, false_negative, false_positive} (`r1lab.rollout.train_verifier`)."""
    second_verifier: Annotated[Use | None, FREE] = None
    """Verifies a sample of the rollouts too, as an alarm (`r1lab.rollout.reward`); changes no reward."""
    truncated: Annotated[Literal["score", "zero", "mask"], RESULT] = "score"
    """A completion cut at `max_new_tokens`: scored as it is, given the reward of score 0, or masked out."""
    old_logprobs: Annotated[Literal["recompute", "engine"], RESULT] = "recompute"
    """What the ratio is to: the policy that began the block (recompute: a pass where several updates follow, else the
    ratio is 1), or what the engine said as it sampled."""
    max_staleness: Annotated[Count, RESULT] = 0
    """1: servers sample the next step's block while this one is learned, with the weights it began with (server)."""
    max_error_rate: Annotated[Share, FREE] = 0.02
    """Largest share of `error` verdicts in the last 1,000 rollouts."""
    print_samples: Annotated[Count, FREE] = 10
    """Steps between two completions on the console, a right one and a wrong one; also after step 1; 0: none."""

    @model_validator(mode="after")
    def _on_policy(self):
        if self.sampling.biased and not self.sampling.allow_biased_sampling:
            raise ValueError(
                "top_p, top_k and min_p sample from another distribution than the one that is trained; "
                "leave them at 1, 0 and 0 or set sampling.allow_biased_sampling: true"
            )
        return self
