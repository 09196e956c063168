"""What a run is: every knob, as strict models, and how a recipe is read from a file or a mapping."""

from r1lab.recipe.data import PromptConfig, SourceConfig
from r1lab.recipe.engine import EngineConfig
from r1lab.recipe.environment import EnvironmentConfig
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.optimizer import LoraConfig, OptimizerConfig
from r1lab.recipe.preference import PreferenceStageConfig
from r1lab.recipe.reject import DatasetStageConfig, JudgeStageConfig, RejectStageConfig
from r1lab.recipe.reward_model import RewardModelStageConfig
from r1lab.recipe.stages import (
    DataStageConfig,
    EntropyConfig,
    EvalConfig,
    KlConfig,
    ObjectiveConfig,
    ReferenceConfig,
    RlStageConfig,
    SamplingConfig,
    SftStageConfig,
    StageConfig,
    StopConfig,
    TrainStageConfig,
    WeightConfig,
    WorkersConfig,
)  # fmt: skip

PolicyStageConfig = SftStageConfig | RlStageConfig | PreferenceStageConfig
"""A stage that trains a policy."""
LearningStageConfig = PolicyStageConfig | RewardModelStageConfig
"""A stage that trains."""
SamplingStageConfig = RlStageConfig | RejectStageConfig | JudgeStageConfig
"""A stage whose feed samples."""
AnyStageConfig = (
    SftStageConfig
    | RlStageConfig
    | RejectStageConfig
    | JudgeStageConfig
    | EvalStageConfig
    | RewardModelStageConfig
    | PreferenceStageConfig
)
"""A stage of a resolved recipe."""

__all__ = [
    "AnyStageConfig", "DataStageConfig", "DatasetStageConfig", "EngineConfig", "EntropyConfig", "EnvironmentConfig",
    "EvalConfig",
    "EvalStageConfig", "KlConfig", "LearningStageConfig", "LoraConfig", "ObjectiveConfig", "OptimizerConfig",
    "PolicyStageConfig", "PreferenceStageConfig", "PromptConfig", "ReferenceConfig", "RejectStageConfig",
    "RewardModelStageConfig",
    "RlStageConfig", "SamplingConfig", "SamplingStageConfig", "SftStageConfig", "SourceConfig", "StageConfig",
    "StopConfig", "TrainStageConfig", "WeightConfig", "WorkersConfig",
]  # fmt: skip
