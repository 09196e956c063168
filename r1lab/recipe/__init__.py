"""What a run is: every knob, as strict models, and how a recipe is read from a file or a mapping."""

from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.engine import EngineConfig
from r1lab.recipe.optimizer import LoraConfig, OptimizerConfig
from r1lab.recipe.stages import (
    EvalConfig,
    ObjectiveConfig,
    RlStageConfig,
    SamplingConfig,
    SftStageConfig,
    StageConfig,
    StopConfig,
    TrainStageConfig,
    WorkersConfig,
)  # fmt: skip

__all__ = [
    "EngineConfig",
    "EvalConfig",
    "LoraConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PromptConfig",
    "RlStageConfig",
    "SamplingConfig",
    "SftStageConfig",
    "SourceConfig",
    "StageConfig",
    "StopConfig",
    "TrainStageConfig",
    "WorkersConfig",
]  # fmt: skip
