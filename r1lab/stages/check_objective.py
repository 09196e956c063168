"""What an objective names or needs outside of itself: parts of the reward, a reference, weights that sampled. Not what
its own keys contradict (`r1lab.objective.contradictions`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r1lab import objective, plugin
from r1lab.errors import RecipeError
from r1lab.objective import correction
from r1lab.policy.location import locate
from r1lab.recipe import AnyStageConfig, RewardModelStageConfig, RlStageConfig
from r1lab_data.names import did_you_mean


def check_parts(built: objective.Objective, stage: AnyStageConfig) -> None:
    """RecipeError where an objective names what is no part of the reward, or weighs it by what is no number."""
    weights = plugin.settings_of(built.advantage.fn).get("weights") or {}
    what = "objective.advantage.weights"
    if not isinstance(weights, Mapping) or any(type(value) not in (int, float) for value in weights.values()):
        raise RecipeError(f"{what}: {weights!r} must be a number by part of the reward, such as {{score: 1.0}}")
    parts = _parts_of(stage)
    named = [(what, name) for name in weights]
    if built.step_credit and built.step_credit.source != "verdict":
        named.append(("objective.credit.source", built.step_credit.source))
    for key, name in named:
        if name not in parts:
            raise RecipeError(
                f"{key}: {name!r} is no part of the reward: {', '.join(parts)}{did_you_mean(name, parts)}"
            )


def _parts_of(stage: AnyStageConfig) -> dict[str, Any]:
    """What training pays for, the stage's parts of the reward and those of its sources."""
    of_sources = [source.reward for source in stage.data.values() if source.reward]
    return {name: paid for parts in (getattr(stage, "reward", {}), *of_sources) for name, paid in parts.items()}


def reference_of(stage: AnyStageConfig, base: Path) -> str | None:
    """Where the model of the stage's `reference` is; None where it names none, or one that a stage makes."""
    named = getattr(stage, "reference", None)
    try:
        return locate(named, base) if isinstance(named, str) else None
    except RecipeError as error:
        raise RecipeError(f"reference: {str(error).removeprefix('model: ')}") from None


def check_reference(built: objective.Objective, stage: AnyStageConfig) -> None:
    """RecipeError for a reference that nothing reads or that would be replaced, and for KL to oneself as all there is
    to learn."""
    reference = getattr(stage, "reference", None)
    if reference is None:
        if built.kl.in_reward and not any(_parts_of(stage).values()):
            raise RecipeError(
                "reward: it pays nothing, and the KL in it is to the model that the stage begins with: nothing would "
                "be learned; name a teacher, as in reference: {stage: NAME}"
            )
        return
    named = reference if isinstance(reference, str) else f"stage {reference.stage}"
    if isinstance(stage, RewardModelStageConfig) or "ref" not in built.needs:
        raise RecipeError(
            f"reference: {named!r} would be read by nothing; set objective.kl.coef, take a preset that compares with "
            "it (on_policy_distillation, dpo), or leave it out"
        )
    if built.kl.ref_refresh_steps:
        raise RecipeError(
            f"reference: {named!r} would be replaced by the policy every {built.kl.ref_refresh_steps} steps "
            "(objective.kl.ref_refresh_steps); leave one of the two out"
        )


def check_staleness(built: objective.Objective, stage: AnyStageConfig) -> None:
    """RecipeError for rollouts older than the policy (`max_staleness`) that nothing could sample meanwhile, or that
    would be learned as if the policy itself had sampled them."""
    if not isinstance(stage, RlStageConfig) or not stage.max_staleness:
        return
    lag = f"max_staleness: {stage.max_staleness}"
    if stage.max_staleness > 1:
        raise RecipeError(f"{lag} is a fixed lag of several steps, whose oldest rollouts teach least; use 0 or 1")
    if stage.engine.kind != "server":
        raise RecipeError(
            f"{lag} samples while the policy learns, which engine.kind: {stage.engine.kind} in this process does not; "
            "use engine: {kind: server, urls: [...]}, or max_staleness: 0"
        )
    if stage.old_logprobs == "recompute" and all(term.fn is correction.none for term in built.corrections):
        raise RecipeError(
            f"{lag} with objective.correction: none and old_logprobs: recompute would learn from older weights' "
            "completions as if they were the policy's; use correction: {use: tis, cap: 2.0}, or old_logprobs: engine"
        )
    if stage.stop.max_flops:
        raise RecipeError(
            f"{lag} begins a step's sampling before the FLOPs of the step before are known, and stop.max_flops would "
            "be passed; use stop.max_tokens or steps"
        )
