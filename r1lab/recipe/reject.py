"""Knobs of stages that sample a dataset: `reject` keeps by verdicts, `judge` asks a model which of two completions is
better. How they run stands in `r1lab.stages.sampling`.

    stages:
      - {kind: reject, name: samples, group_size: 8, keep: {max_per_problem: 2}}
      - {kind: sft, data: {stage: samples}, epochs: 2}
      - {kind: judge, name: pairs, judge: {prompt: which.txt, options: {A: 1, B: 0}}}
      - {kind: preference, data: {stage: pairs}}

A `reject` stage writes solutions (demonstrations), problems (those with a pass rate between two bounds) or pairs (a
right and a wrong completion). With `revise` the model criticises and revises what it wrote, and a revision stands for
its completion; of pairs the revision is chosen over it (Constitutional AI, arXiv 2212.08073).

It samples from a model as RL does (`from`, or `model`) and makes none: a stage after it starts from the newest model
before, and reads the dataset by `data: {stage: <name>}`. The folder `stages/<name>/data` of a run is also a dataset for
any other recipe: `data: {path: <folder>, columns: {solution: solution, id: id}}`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from r1lab.recipe.base import FREE, RESULT, Above, Config, Count, Positive, Share, Use
from r1lab.recipe.scorers import JudgeScorerConfig
from r1lab.recipe.stages import EvalConfig, ObjectiveConfig, StageConfig
from r1lab_data.language import SCRIPTS


class KeepConfig(Config):
    """Which verified completions become demonstrations, asked in this order."""

    threshold: Annotated[Share, RESULT] = 1.0
    """Least score of the problem's own verifier."""
    truncated: Annotated[bool, RESULT] = False
    """Also completions that were cut at `max_new_tokens`."""
    min_tokens: Annotated[Count, RESULT] = 0
    """Shortest completion, in tokens, its end of text counted."""
    max_tokens: Annotated[Positive | None, RESULT] = None
    """Longest completion, in tokens; default: `max_new_tokens`."""
    language: Annotated[str | None, RESULT] = None
    """Language whose script nine tenths of the letters must be in (`r1lab_data.language`): en, zh, ru, ..."""
    max_per_problem: Annotated[Positive, RESULT] = 4
    """Demonstrations of one problem, the first ones sampled; of completions equal but for case, punctuation and
    spaces only the first counts."""

    pass_rate: Annotated[tuple[Share, Share] | None, RESULT] = None
    """Of `write: problems`, the least and the greatest share of right completions, such as [0.2, 0.8]."""

    @model_validator(mode="after")
    def _possible(self):
        if self.pass_rate is not None and self.pass_rate[0] > self.pass_rate[1]:
            raise ValueError(f"pass_rate {list(self.pass_rate)} has its least behind its greatest; exchange them")
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens {self.max_tokens} is below min_tokens {self.min_tokens}; nothing is between")
        if self.language is not None and self.language not in SCRIPTS:
            raise ValueError(f"language {self.language!r} is not known; use one of {', '.join(SCRIPTS)}")
        return self


class ReviseConfig(Config):
    """How a completion is criticised and revised, in two calls of the model that wrote it."""

    critique: Annotated[str, RESULT]
    """File with what asks for a critique, which holds {completion}, perhaps {prompt} and {principle}."""
    revision: Annotated[str, RESULT]
    """File with what asks for a revision, which holds {completion} and {critique}."""
    principles: Annotated[str | None, RESULT] = None
    """File with a principle a line, of which each completion draws one."""


class DatasetStageConfig(StageConfig):
    """Sampling a dataset. Without `steps` it goes over the problems once."""

    group_size: Annotated[Positive, RESULT] = 8
    """Completions per problem."""
    temperature: Annotated[Above, RESULT] = 1.0
    """Of the completions."""
    train_verifier: Annotated[Use | None, RESULT] = None
    """Replaces the problems' own verdicts: a control or noise, as in an rl stage."""
    max_error_rate: Annotated[Share, FREE] = 0.02
    """Largest share of `error` verdicts in the last 1,000 completions."""
    print_samples: Annotated[Count, FREE] = 10
    """Steps between two completions on the console, a right one and a wrong one; also after step 1; 0: none."""

    # What a step of samples is in the feed's terms: groups as they come, learned from by no one.
    eval: ClassVar[EvalConfig] = EvalConfig()
    objective: ClassVar[ObjectiveConfig] = ObjectiveConfig(preset="reinforce")
    truncated: ClassVar[str] = "score"
    updates_per_step: ClassVar[int] = 1
    reuse: ClassVar[int] = 0

    @model_validator(mode="after")
    def _stops(self):
        if self.stop.max_hours or self.stop.metric:
            raise ValueError(
                f"stop: a {getattr(self, 'kind', 'reject')} stage ends by steps, max_tokens or max_flops; leave "
                "max_hours and metric out"
            )
        return self


class RejectStageConfig(DatasetStageConfig):
    """Rejection sampling: what verifiers say decides what is kept."""

    kind: Annotated[Literal["reject"], RESULT] = "reject"
    """Samples and selects."""
    write: Annotated[Literal["solutions", "problems", "pairs"], RESULT] = "solutions"
    """What the dataset holds: demonstrations, problems of a pass rate, or a better and a worse completion."""
    keep: Annotated[KeepConfig, RESULT] = KeepConfig()
    """Which completions, or problems, are kept."""
    revise: Annotated[ReviseConfig | None, RESULT] = None
    """Criticise and revise each completion; a problem then needs no verifier."""

    @property
    def reward(self) -> dict[str, float]:
        return {} if self.revise else {"score": 1.0}

    @model_validator(mode="after")
    def _kept(self):
        if (self.write == "problems") != (self.keep.pass_rate is not None):
            raise ValueError(
                f"write: {self.write} with{'out' * (self.keep.pass_rate is None)} keep.pass_rate; write: problems is "
                "chosen by one, as [0.2, 0.8], and the others have none"
            )
        if self.revise and self.write == "problems":
            raise ValueError("revise: problems are kept by what was written first; write solutions or pairs")
        return self


class JudgeStageConfig(DatasetStageConfig):
    """Pairs by a model that is asked which of two completions is better, in both orders (RLAIF, arXiv 2309.00267)."""

    kind: Annotated[Literal["judge"], RESULT] = "judge"
    """Samples and compares."""
    write: ClassVar[Literal["pairs"]] = "pairs"
    group_size: Annotated[Positive, RESULT] = 2
    """Completions per problem, which are compared in twos."""
    judge: Annotated[JudgeScorerConfig, RESULT]
    """Who is asked what; an option is worth how far it prefers the first, as {A: 1, B: 0}."""
    principles: Annotated[str | None, RESULT] = None
    """File with a principle a line, of which each pair draws one for {principle}."""

    reward: ClassVar[dict[str, float]] = {}

    @model_validator(mode="after")
    def _in_twos(self):
        if self.group_size % 2:
            raise ValueError(f"group_size: {self.group_size} completions are not compared in twos; give an even number")
        return self
