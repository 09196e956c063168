"""Knobs of a `reject` stage: rejection sampling, whose output is a dataset. How it runs stands in
`r1lab.stages.reject`.

    stages:
      - {kind: reject, name: samples, group_size: 8, keep: {max_per_problem: 2}}
      - {kind: sft, data: {stage: samples}, epochs: 2}

It samples from a model as RL does (`from`, or `model`) and makes none: a stage after it starts from the newest model
before, and reads the dataset by `data: {stage: <name>}`. The folder `stages/<name>/data` of a run is also a dataset for
any other recipe: `data: {path: <folder>, columns: {solution: solution, id: id}}`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import model_validator

from r1lab.recipe.base import FREE, RESULT, Above, Config, Count, Positive, Share
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

    @model_validator(mode="after")
    def _possible(self):
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens {self.max_tokens} is below min_tokens {self.min_tokens}; nothing is between")
        if self.language is not None and self.language not in SCRIPTS:
            raise ValueError(f"language {self.language!r} is not known; use one of {', '.join(SCRIPTS)}")
        return self


class RejectStageConfig(StageConfig):
    """Sampling a dataset of verified demonstrations. Without `steps` it goes over the problems once."""

    kind: Annotated[Literal["reject"], RESULT] = "reject"
    """Samples and selects."""
    group_size: Annotated[Positive, RESULT] = 8
    """Completions per problem."""
    temperature: Annotated[Above, RESULT] = 1.0
    """Of the completions."""
    keep: Annotated[KeepConfig, RESULT] = KeepConfig()
    """Which of them become demonstrations."""
    max_error_rate: Annotated[Share, FREE] = 0.02
    """Largest share of `error` verdicts in the last 1,000 completions."""
    print_samples: Annotated[Count, FREE] = 10
    """Steps between two completions on the console, a right one and a wrong one; also after step 1; 0: none."""

    # What a step of samples is in the feed's terms: groups as they come, learned from by no one.
    eval: ClassVar[EvalConfig] = EvalConfig()
    objective: ClassVar[ObjectiveConfig] = ObjectiveConfig(preset="reinforce")
    reward: ClassVar[dict[str, float]] = {"score": 1.0}
    truncated: ClassVar[str] = "score"
    updates_per_step: ClassVar[int] = 1
    reuse: ClassVar[int] = 0

    @model_validator(mode="after")
    def _stops(self):
        if self.stop.max_hours or self.stop.metric:
            raise ValueError(
                "stop: a reject stage ends by steps, max_tokens or max_flops; leave max_hours and metric out"
            )
        return self
