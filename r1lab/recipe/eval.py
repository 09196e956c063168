"""Knobs of an `eval` stage: a model on its sets, in full. How it runs stands in `r1lab.stages.eval`.

    stages:
      - {kind: sft}
      - {kind: eval, name: after_sft, eval: {n: 8, sets: {held_out: {task: addition, split: eval}}}}
      - {kind: rl}

It takes the newest model before it (or `from`, or `model`) and makes none. `stages/<name>/<set>` of the run is the
folder that `r1lab eval` would have made.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import model_validator

from r1lab.recipe.base import FREE, RESULT, without_absent
from r1lab.recipe.data import SourceConfig
from r1lab.recipe.stages import EvalConfig, ObjectiveConfig, StageConfig


class EvalStageConfig(StageConfig):
    """Sampling held-out problems, and nothing else."""

    kind: Annotated[Literal["eval"], RESULT] = "eval"
    """Evaluates."""
    data: Annotated[dict[str, SourceConfig], RESULT] = {}
    """None: the sets stand under `eval`."""
    eval: Annotated[EvalConfig, FREE] = EvalConfig()
    """The sets, and how they are sampled; `every`, `at_start` and `keep_best` are training's."""

    absent: ClassVar[frozenset[str]] = frozenset({"data", "steps", "stop", "prompts_per_step"})
    """Keys that it does not have: one at the recipe's top is not its default."""
    # What nothing is learned from, in the terms of what checks a stage.
    objective: ClassVar[ObjectiveConfig] = ObjectiveConfig(preset="reinforce")
    reward: ClassVar[dict[str, float]] = {"score": 1.0}
    truncated: ClassVar[str] = "score"
    group_size: ClassVar[int] = 1
    updates_per_step: ClassVar[int] = 1
    reuse: ClassVar[int] = 0

    @model_validator(mode="before")
    @classmethod
    def _read_back(cls, given: Any) -> Any:
        return without_absent(cls, given)

    @model_validator(mode="after")
    def _evaluates(self):
        for key in sorted(self.absent & self.model_fields_set):
            raise ValueError(f"{key}: an eval stage has none; its sets stand under eval.sets")
        if not self.eval.sets:
            raise ValueError(f"eval.sets: missing in stage {self.name!r}; name at least one set")
        if self.eval.keep_best:
            raise ValueError("eval.keep_best: an eval stage makes no model; set it in the stage that trains")
        return self
