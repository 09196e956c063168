"""The learned parts of a stage's rewards: what each is and reads, and where its model stands. No model is loaded here,
and how they score stands in `r1lab.rollout.scorers`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from r1lab.errors import RecipeError
from r1lab.policy.location import locate
from r1lab.recipe import AnyStageConfig, JudgeStageConfig, RejectStageConfig, RewardModelStageConfig
from r1lab.recipe.base import digest
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.load import makes_policy
from r1lab.recipe.scorers import AnyScorerConfig, JudgeScorerConfig, RewardModelScorerConfig
from r1lab.rollout.reward import Reward, ScorerSpec
from r1lab_data import Problem
from r1lab_data.files import local
from r1lab_data.labelled import of as labelled_of

ASKED = ("{completion}",)
"""What a question about one completion holds."""
JUDGE = "judge"
"""The key of a judge stage's scorer."""


class StageWithData(Protocol):
    """An earlier stage, as far as a scorer must know it."""

    @property
    def stage(self) -> AnyStageConfig: ...

    @property
    def sources(self) -> Mapping[str, list[Problem]]: ...


def key_of(config: AnyScorerConfig) -> str:
    """Parts that differ in their weight alone have one scorer."""
    return digest(config.model_dump(mode="json", exclude={"weight", "combine"}))


def specs_of(
    stage: AnyStageConfig, rewards: Mapping[str, Reward], base: Path, before: Mapping[str, StageWithData]
) -> dict[str, ScorerSpec]:
    """The scorers of a stage by their keys. RecipeError in one line for one that cannot be."""
    named = {key_of(each): (f"reward.{name}", each) for reward in rewards.values() for name, each in
             reward.learned.items()}  # fmt: skip
    specs = {key: spec_of(config, stage.prompt, base, before, where) for key, (where, config) in named.items()}
    if isinstance(stage, JudgeStageConfig):
        specs[JUDGE] = spec_of(stage.judge, stage.prompt, base, before, JUDGE, ("{first}", "{second}"))
    return specs


def texts_of(stage: AnyStageConfig, base: Path) -> dict[str, str]:
    """The texts of the files that a sampling stage asks with."""
    asks: dict[str, str | None] = {"principles": getattr(stage, "principles", None)}
    places = {"critique": ("{completion}",), "revision": ("{completion}", "{critique}")}
    where = ""
    if isinstance(stage, RejectStageConfig) and stage.revise is not None:
        asks, where = {name: getattr(stage.revise, name) for name in (*places, "principles")}, "revise."
    found = {name: text_of(file, base, f"{where}{name}", places.get(name, ())) for name, file in asks.items() if file}
    if "principles" in found and not lines_of(found):
        raise RecipeError(f"{where}principles: {asks['principles']!r} holds no line; write a principle a line")
    return found


def lines_of(texts: Mapping[str, str]) -> list[str]:
    """The principles, a line each."""
    return [line.strip() for line in texts.get("principles", "").splitlines() if line.strip()]


def spec_of(
    config: AnyScorerConfig,
    prompt: PromptConfig,
    base: Path,
    before: Mapping[str, StageWithData],
    where: str,
    asked: Sequence[str] = ASKED,
) -> ScorerSpec:
    """`prompt` is that of who is rewarded; `asked` are the places that a judge's question must hold."""
    if config.stage is not None:
        _check_origin(config, before, where)
    location = None
    if config.path is not None:
        try:
            location = locate(config.path, base)
        except RecipeError as error:
            raise RecipeError(f"{where}.path: {str(error).removeprefix('model: ')}") from None
    if isinstance(config, JudgeScorerConfig):
        return ScorerSpec(
            config, location, None, prompt, question=text_of(config.prompt, base, f"{where}.prompt", asked)
        )
    if config.stage is None:
        return ScorerSpec(config, location, config.prompt, prompt, config.reads == "steps")
    origin = before[config.stage]
    learned = {labelled_of(problems[0]).kind for problems in origin.sources.values() if problems}
    reads_steps = "steps" in learned if config.reads is None else config.reads == "steps"
    return ScorerSpec(config, None, config.prompt or origin.stage.prompt, prompt, reads_steps)


def _check_origin(config: AnyScorerConfig, before: Mapping[str, StageWithData], where: str) -> None:
    found = before.get(config.stage or "")
    wants_scores, stages = isinstance(config, RewardModelScorerConfig), [each.stage for each in before.values()]
    is_scores = [isinstance(stage, RewardModelStageConfig) for stage in stages]
    fits = is_scores if wants_scores else map(makes_policy, stages)
    fitting = [stage.name for stage, does in zip(stages, fits) if does]
    if found is None or config.stage not in fitting:
        kind, known = "reward_model stage" if wants_scores else "policy's stage", ", ".join(fitting) or "there is none"
        what = f"a stage of kind {found.stage.kind}" if found else "no earlier stage"
        raise RecipeError(f"{where}.stage: {config.stage!r} is {what}; name an earlier {kind} ({known})")


def text_of(name: str, base: Path, where: str, asked: Sequence[str]) -> str:
    """The text of a file, which must hold some places."""
    path = local(name, base)
    try:
        text = Path(path or name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise RecipeError(f"{where}: {name!r} cannot be read ({reason}); name a text file") from None
    missing = [place for place in asked if place not in text]
    if missing:
        raise RecipeError(f"{where}: {name!r} holds no {' and no '.join(missing)}; the question is asked there")
    return text.rstrip("\n")


def content_of(spec: ScorerSpec) -> str:
    """What a scorer is beside its settings: its weights and, of a judge, its question. An earlier stage's weights are
    known by what makes them."""
    from r1lab.policy.models import weights_digest  # it loads torch

    weights = weights_digest(spec.location) if spec.location is not None else ""
    return digest([weights, spec.question])


def place_of(spec: ScorerSpec, model_of: Callable[[str], Path], start: str) -> str:
    """Where a scorer's model is, once the stages before have ended."""
    if spec.location is not None:
        return spec.location
    return start if spec.config.stage is None else str(model_of(spec.config.stage))
