"""Make a checked plan ready: what its models say is checked too, before anything is written. Not the run
(`r1lab.pipeline`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from r1lab.engines import factory
from r1lab.errors import RecipeError
from r1lab.policy import classifier, compute, models
from r1lab.policy.location import trust_remote_code
from r1lab.recipe import (
    DataStageConfig,
    LearningStageConfig,
    PreferenceStageConfig,
    RewardModelStageConfig,
    RlStageConfig,
    SamplingStageConfig,
    SftStageConfig,
    TrainStageConfig,
)
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.load import Plan
from r1lab.recipe.reject import DatasetStageConfig
from r1lab.recipe.scorers import JudgeScorerConfig
from r1lab.rollout import environment, judges, labelled, scorer_specs, sft, verification
from r1lab.rollout.problems import fitting
from r1lab.rollout.renderer import Renderer, renderer_of
from r1lab.rollout.reward import ScorerSpec
from r1lab.rollout.scorers import ScorersReader
from r1lab.stages import dataset
from r1lab.stages.check import Checked, check, key_of, lacking, of_stage, origins
from r1lab_data import Problem
from r1lab_data.split import distinct


@dataclass(frozen=True)
class Ready(Checked):
    """A stage with its data and what of its model is known before it is loaded."""

    tokenizer: PreTrainedTokenizerBase | None = field(kw_only=True)
    """None where a dry run could not read it."""
    renderer: Renderer = field(kw_only=True)
    steps: int | None = field(kw_only=True)
    longest_cost: float = field(kw_only=True)
    """Budget tokens that one problem of a step can cost at most."""


def prepare(plan: Plan, checked: Sequence[Checked] | None = None, missing: list[str] | None = None) -> list[Ready]:
    """Every stage ready to run. RecipeError in one line for what is wrong with the recipe, its data or its model.

    `missing` takes what this machine lacks instead of an error."""
    ready: list[Ready] = []
    for each in check(plan, missing) if checked is None else checked:
        try:
            ready.append(_ready(each, {before.stage.name: before for before in ready}, missing))
        except RecipeError as error:
            raise RecipeError(of_stage(plan, each.stage, error)) from None
    return ready


def filled(ready_stage: Ready, folder: Callable[[str], Path]) -> Ready:
    """The same with the datasets that earlier stages made, in their folders. RecipeError where one does not fit."""
    stage = ready_stage.stage
    if not origins(stage):
        return ready_stage
    sources = dict(ready_stage.sources)
    for name, source in stage.data.items():
        if source.stage is None:
            continue
        spec = source.verifier or stage.verifier
        sources[name] = dataset.read(folder(source.stage) / "data", name, verification.key_of(spec) if spec else "")
        sources[name] = distinct(sources[name], source.distinct)[: source.limit]
    try:
        fitting = _fitting(replace(ready_stage, sources=sources), ready_stage.renderer)
        steps, longest = _check_lengths(fitting, ready_stage.renderer)
    except RecipeError as error:
        raise RecipeError(f"stage {stage.name}: {error}") from None
    return replace(ready_stage, sources=fitting.sources, notes=fitting.notes, steps=steps, longest_cost=longest)


def _ready(checked: Checked, before: Mapping[str, Ready], missing: list[str] | None) -> Ready:
    stage, location, limit = checked.stage, checked.location, None
    with lacking(missing):
        limit = factory.check(stage.engine, None, getattr(stage, "lora", None))
    if stage.from_ is not None:
        tokenizer, context = before[stage.from_].tokenizer, before[stage.from_].renderer.context
    else:
        assert location is not None  # without `from` a stage has a model of its own
        if stage.trust_remote_code:
            trust_remote_code()
        (classifier if isinstance(stage, RewardModelStageConfig) else models).check(location)
        if isinstance(stage, TrainStageConfig):
            with lacking(missing):
                compute.check(stage)
        tokenizer, config = models.load_tokenizer(location), models.load_config(location)
        context = models.context_length(config)
        with lacking(missing):
            limit = factory.check(stage.engine, config)
    of_reference = _reference_context(checked, tokenizer, before) if tokenizer is not None else None
    renderer = renderer_of(tokenizer, stage.prompt, min(filter(None, (context, limit, of_reference)), default=None))
    found = environment.equip(renderer, environment.of_sources(stage, {**stage.data, **stage.eval.sets}))
    checked = _fitting(checked, renderer)
    steps, longest = _check_lengths(checked, renderer)
    if not before and stage.stop.max_tokens and stage.stop.max_tokens < longest:
        raise RecipeError(
            f"stop.max_tokens: {stage.stop.max_tokens} does not pay for one problem, which may cost {int(longest)}"
        )
    _check_scorers(checked, before, tokenizer)
    of_engine = factory.notes(stage.engine, stage.prompts_per_step) if isinstance(stage, SamplingStageConfig) else ()
    known = {**vars(checked), "notes": (*renderer.notes, *found, *checked.notes, *of_engine)}
    return Ready(**known, tokenizer=tokenizer, renderer=renderer, steps=steps, longest_cost=longest)


def _check_scorers(checked: Checked, before: Mapping[str, Ready], tokenizer: PreTrainedTokenizerBase | None) -> None:
    """RecipeError for a part whose model is no scorer, or reads less than what a completion may be; `tokenizer` is of
    the model that is rewarded."""
    for spec in checked.scorers.values():
        if isinstance(spec.config, JudgeScorerConfig) and spec.config.server is None:
            _check_judge(spec, spec.config, before, tokenizer)
    for name, reward in checked.rewards.items():
        for part, config in reward.learned.items():
            if isinstance(config, JudgeScorerConfig):
                continue
            spec, where = checked.scorers[scorer_specs.key_of(config)], f"reward.{part}"
            try:
                if spec.location is None:
                    renderer = before[config.stage or ""].renderer
                else:
                    found = classifier.check_scorer(spec.location, config.label)
                    tokenizer = models.load_tokenizer(spec.location)
                    renderer = ScorersReader(tokenizer, spec, found).renderer
                _check_fits(checked.sources[name], renderer.misfit, checked.stage.max_new_tokens)
            except (RecipeError, ValueError) as error:
                raise RecipeError(f"{where}: {str(error).removeprefix('model: ')}") from None


def _check_judge(
    spec: ScorerSpec, config: JudgeScorerConfig, before: Mapping[str, Ready], tokenizer: PreTrainedTokenizerBase | None
) -> None:
    """RecipeError for a judge that is no language model, or cannot tell its options apart."""
    tokenizer = before[config.stage].tokenizer if config.stage is not None else tokenizer
    if spec.location is not None:
        try:
            models.check(spec.location)
        except RecipeError as error:
            raise RecipeError(f"judge: {str(error).removeprefix('model: ')}") from None
        tokenizer = models.load_tokenizer(spec.location)
    if tokenizer is not None:
        judges.check_options(tokenizer, config, "judge")


def _check_fits(problems: Sequence[Problem], misfit: Callable[[Problem, int], str | None], max_new_tokens: int) -> None:
    for problem in problems:
        if reason := misfit(problem, max_new_tokens):
            raise RecipeError(f"the scorer cannot read every completion: {reason}")


def _reference_context(checked: Checked, tokenizer: PreTrainedTokenizerBase, before: Mapping[str, Ready]) -> int | None:
    """The context of the stage's reference, where it names one. RecipeError for one that reads other tokens."""
    location, named = checked.reference, getattr(checked.stage, "reference", None)
    if location is not None:
        try:
            models.check(location)
        except RecipeError as error:
            raise RecipeError(f"reference: {str(error).removeprefix('model: ')}") from None
        own, context = models.load_tokenizer(location), models.context_length(models.load_config(location))
    elif named is not None:
        own, context = before[named.stage].tokenizer, before[named.stage].renderer.context
    else:
        return None
    ids = own.get_vocab() if own is not None else {}
    other = next((token for token, number in tokenizer.get_vocab().items() if ids.get(token) != number), None)
    if other is not None:
        where = named if isinstance(named, str) else f"stage {getattr(named, 'stage', '')}"
        raise RecipeError(
            f"reference: {where!r} has another vocabulary than the policy ({other!r} is {ids.get(other, 'no token')} "
            f"there, {tokenizer.get_vocab()[other]} here), so it cannot score what the policy writes; name a model "
            "with the same tokenizer"
        )
    return context


def _fitting(checked: Checked, renderer: Renderer) -> Checked:
    """The same without the problems that do not fit the context, of sources that drop them; how many is noted."""
    stage, notes = checked.stage, list(checked.notes)
    demonstrates = isinstance(stage, SftStageConfig) or checked.objective.rule.demonstrates
    samples = not isinstance(stage, DataStageConfig)

    is_labelled = isinstance(stage, RewardModelStageConfig)

    def misfit(problem: Problem, room: int) -> str | None:
        if is_labelled or isinstance(stage, PreferenceStageConfig):
            return labelled.misfit(problem, renderer)
        return (renderer.misfit(problem, room) if samples else None) or (
            sft.misfit(problem, renderer) if demonstrates else None
        )

    def set_misfit(problem: Problem, room: int) -> str | None:
        return labelled.misfit(problem, renderer) if is_labelled else renderer.misfit(problem, room)

    room, eval_room = stage.max_new_tokens, stage.eval.max_new_tokens or stage.max_new_tokens
    try:
        sources = {
            name: fitting(key_of(stage, name), stage.data[name], problems, lambda problem: misfit(problem, room), notes)
            for name, problems in checked.sources.items()
        }
        sets = tuple(
            replace(part, problems=fitting(f"eval.sets.{part.name}", stage.eval.sets[part.name], part.problems,
                                           lambda problem: set_misfit(problem, eval_room), notes))
            for part in checked.sets
        )  # fmt: skip
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(str(error)) from None
    return replace(checked, sources=sources, sets=sets, notes=notes)


def _check_lengths(checked: Checked, renderer: Renderer) -> tuple[int | None, float]:
    """Steps of the stage and the most that a problem can cost. RecipeError for a prompt longer than the context."""
    stage, sources, sets, built = checked.stage, checked.sources, checked.sets, checked.objective
    try:
        if isinstance(stage, RewardModelStageConfig):
            longest = max(
                labelled.check(problems, renderer) for problems in (*sources.values(), *(s.problems for s in sets))
            )
            return _steps_of(stage, sources), longest
        for on in sets:
            renderer.check(on.problems, stage.eval.max_new_tokens or stage.max_new_tokens)
        if isinstance(stage, EvalStageConfig):
            return None, 0
        if isinstance(stage, PreferenceStageConfig):
            longest = max(labelled.check(problems, renderer) for problems in sources.values())
            return _steps_of(stage, sources), longest
        if isinstance(stage, SftStageConfig):
            longest = sft.check(sources, renderer)
            return _steps_of(stage, sources), longest if all(sources.values()) else stage.max_new_tokens
        shown = sft.check(sources, renderer) if built.rule.demonstrates else 0
        for problems in sources.values():
            renderer.check(problems, stage.max_new_tokens)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(str(error)) from None
    calls = 3 if getattr(stage, "revise", None) else 1  # the completion, its critique, its revision
    sampled = stage.group_size * stage.max_new_tokens * calls
    if isinstance(stage, DatasetStageConfig):
        return stage.steps or math.ceil(sum(map(len, sources.values())) / stage.prompts_per_step), sampled
    counted = isinstance(stage, RlStageConfig) and stage.epochs and all(sources.values())
    steps = sft.steps_of(stage, sum(map(len, sources.values()))) if counted else stage.steps
    return steps, sampled * (built.max_draws * built.rule.attempts + stage.reuse) + shown * stage.reuse


def _steps_of(stage: LearningStageConfig, sources: Mapping[str, Sequence[Problem]]) -> int | None:
    """None where an earlier stage has still to make what there is to learn from, and no `steps` stands there."""
    return sft.steps_of(stage, sum(map(len, sources.values()))) if all(sources.values()) else stage.steps
