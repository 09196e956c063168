"""What a run is: every knob, as strict models, and how a recipe is read from a file or a mapping."""

from r1lab.recipe.data import Prompt, Source
from r1lab.recipe.engine import Engine
from r1lab.recipe.optimizer import Lora, Optimizer
from r1lab.recipe.stages import (
    AnyStage,
    Evaluation,
    Objective,
    RlStage,
    Sampling,
    SftStage,
    Stage,
    Stop,
    Workers,
)  # fmt: skip

__all__ = [
    "AnyStage", "Engine", "Evaluation", "Lora", "Objective", "Optimizer", "Prompt", "RlStage", "Sampling", "SftStage",
    "Source", "Stage", "Stop", "Workers",
]  # fmt: skip
