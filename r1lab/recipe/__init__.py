"""What a run is: every knob, as strict models, and how a recipe is read from a file or a mapping."""

from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.engine import EngineConfig
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.optimizer import LoraConfig, OptimizerConfig
from r1lab.recipe.reject import RejectStageConfig
from r1lab.recipe.stages import (
    EntropyConfig,
    EvalConfig,
    KlConfig,
    ObjectiveConfig,
    RlStageConfig,
    SamplingConfig,
    SftStageConfig,
    StageConfig,
    StopConfig,
    TrainStageConfig,
    WeightConfig,
    WorkersConfig,
)  # fmt: skip

LearningStageConfig = SftStageConfig | RlStageConfig
"""A stage that trains."""
SamplingStageConfig = RlStageConfig | RejectStageConfig
"""A stage whose feed samples."""
AnyStageConfig = SftStageConfig | RlStageConfig | RejectStageConfig | EvalStageConfig
"""A stage of a resolved recipe."""

__all__ = [
    "AnyStageConfig", "EngineConfig", "EntropyConfig", "EvalConfig", "EvalStageConfig", "KlConfig",
    "LearningStageConfig", "LoraConfig", "ObjectiveConfig", "OptimizerConfig", "PromptConfig", "RejectStageConfig",
    "RlStageConfig", "SamplingConfig", "SamplingStageConfig", "SftStageConfig", "SourceConfig", "StageConfig",
    "StopConfig", "TrainStageConfig", "WeightConfig", "WorkersConfig",
]  # fmt: skip
