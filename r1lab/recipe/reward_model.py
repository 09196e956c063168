"""Knobs of a `reward_model` stage: a scalar head on a classifier of transformers, trained on what the data says of
completions. How it runs stands in `r1lab.stages.reward_model`.

    kind: reward_model
    data: {path: org/preferences}                       # pairs: Bradley-Terry
    eval: {sets: {held_out: {path: org/preferences, split: test}}}

Columns `chosen` and `rejected` are pairs, `completion` and `label` labelled completions, `completions` and `labels`
labelled steps (`r1lab_data.labelled`); their kind decides the loss. The folder is a sequence classifier with one label.
A stage after it starts from the newest policy, never from it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import model_validator

from r1lab.recipe.base import RESULT, without_absent
from r1lab.recipe.stages import DataStageConfig, ObjectiveConfig


class RewardModelStageConfig(DataStageConfig):
    """Learning to score completions from pairs, labelled completions or labelled steps."""

    kind: Annotated[Literal["reward_model"], RESULT] = "reward_model"
    """Learns scores."""

    absent: ClassVar[frozenset[str]] = frozenset({
        "verifier", "on_bad_gold", "workers", "engine", "sampling", "max_new_tokens", "kernel",
    })  # fmt: skip
    """Keys that it does not have: it samples and verifies nothing, and its loss is that of its data."""
    objective: ClassVar[ObjectiveConfig] = ObjectiveConfig(preset="sft")

    @model_validator(mode="before")
    @classmethod
    def _read_back(cls, given: Any) -> Any:
        return without_absent(cls, given)

    @model_validator(mode="after")
    def _scores(self):
        for key in sorted(self.absent & self.model_fields_set):
            raise ValueError(f"{key}: a reward_model stage has none; its loss follows from the kind of its data")
        if self.eval.n != 1:
            raise ValueError(f"eval.n: {self.eval.n} in a reward_model stage, which samples nothing; leave it out")
        return self
