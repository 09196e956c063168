"""Load and check everything of a plan that can be wrong, before anything is written. Not the run (`r1lab.pipeline`)."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

import r1lab_verifiers as verifiers
from r1lab import objective, plugin
from r1lab.engines import factory
from r1lab.errors import RecipeError
from r1lab.evaluation import leaks
from r1lab.evaluation.scores import depths
from r1lab.policy import compute, models
from r1lab.recipe import AnyStageConfig, RlStageConfig, SftStageConfig, SourceConfig, TrainStageConfig
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.load import Plan
from r1lab.recipe.reject import RejectStageConfig
from r1lab.records import EvaluationSet
from r1lab.rollout import sft, verification
from r1lab.rollout.gold_answers import Golds
from r1lab.rollout.problems import load_problems
from r1lab.rollout.renderer import Renderer, renderer_of
from r1lab.rollout.reward import Reward
from r1lab.rollout.second_opinion import SecondOpinion
from r1lab.run import trackers
from r1lab.stages import reject_dataset
from r1lab_data import Problem
from r1lab_data.loaders import digest
from r1lab_data.split import distinct


@dataclass(frozen=True)
class Ready:
    """A stage with its data, checked."""

    stage: AnyStageConfig
    location: str | None
    """Where its model is, or None where it starts from the stage `from`."""
    tokenizer: PreTrainedTokenizerBase | None
    """None where a dry run could not read it."""
    sources: Mapping[str, list[Problem]]
    sets: tuple[EvaluationSet, ...]
    renderer: Renderer
    objective: objective.Objective
    reward: Reward | None
    """None for SFT."""
    second: SecondOpinion
    """Verifies a sample of the rollouts too."""
    table: Mapping[str, verifiers.Resolved]
    steps: int | None
    longest_cost: float
    """Budget tokens that one problem of a step can cost at most."""
    notes: Sequence[str] = ()
    """What of the data was left out."""

    @property
    def problems(self) -> dict[str, Problem]:
        return {problem.id: problem for problems in self.sources.values() for problem in problems}

    @property
    def digests(self) -> dict[str, str]:
        """Content hashes of the training data; what an earlier stage makes is known by what makes it."""
        made = {name: f"stage {source.stage}" for name, source in self.stage.data.items() if source.stage}
        return {
            f"{self.stage.name}/{name}": made.get(name) or digest(problems) for name, problems in self.sources.items()
        }


def prepare(plan: Plan) -> list[Ready]:
    """Every stage ready to run. RecipeError in one line for what is wrong with the recipe, its data or its model."""
    plugin.importable(plan.base, Path.cwd())
    ready: list[Ready] = []
    for stage in plan.stages:
        before = {each.stage.name: each for each in ready}
        location = models.locate(stage.model, plan.base) if stage.from_ is None else None
        try:
            ready.append(_ready(stage, plan, location, before))
        except RecipeError as error:
            raise RecipeError(f"stage {stage.name}: {error}" if len(plan.stages) > 1 else str(error)) from None
    leaks.check([(each.stage, each.sources, each.sets) for each in ready])
    return ready


def filled(ready_stage: Ready, folder: Callable[[str], Path]) -> Ready:
    """The same with the datasets that earlier stages made, in their folders. RecipeError where one does not fit."""
    stage = ready_stage.stage
    if not _origins(stage):
        return ready_stage
    sources = dict(ready_stage.sources)
    for name, source in stage.data.items():
        if source.stage is None:
            continue
        spec = source.verifier or stage.verifier
        sources[name] = reject_dataset.read(
            folder(source.stage) / "data", name, verification.key_of(spec) if spec else ""
        )
        sources[name] = distinct(sources[name], source.distinct)[: source.limit]
    try:
        steps, longest = _check_lengths(stage, sources, ready_stage.sets, ready_stage.renderer, ready_stage.objective)
    except RecipeError as error:
        raise RecipeError(f"stage {stage.name}: {error}") from None
    return replace(ready_stage, sources=sources, steps=steps, longest_cost=longest)


def _ready(stage: AnyStageConfig, plan: Plan, location: str | None, before: Mapping[str, Ready]) -> Ready:
    built = objective_of(stage)
    limit = factory.check(stage.engine, None, getattr(stage, "lora", None))
    trackers.require(stage.trackers)
    reward = reward_of(stage)
    second = SecondOpinion(stage.second_verifier if isinstance(stage, RlStageConfig) else None)
    sources = {
        name: problems_of(source, name, stage, plan.base, "data" if len(stage.data) == 1 else f"data.{name}")
        for name, source in stage.data.items()
    }
    sets = tuple(
        EvaluationSet(name, problems_of(source, name, stage, plan.base, f"eval.sets.{name}"))
        for name, source in stage.eval.sets.items()
    )
    check_names(stage)
    check_metrics(stage)
    _check_ids(sources)
    table = verification.resolve(specs_of(stage)) | (reward.table if reward else {}) | second.table
    judged = [problem for part in sets for problem in part.problems]
    if reward:
        judged += [problem for problems in sources.values() for problem in problems]
    table |= verification.resolve({problem.verifier for problem in judged if problem.verifier} - set(table))
    if reward:  # what an earlier stage makes keeps its verifiers
        table |= {key: each for origin in _origins(stage) for key, each in before[origin].table.items()}
    unjudged = next((problem for problem in judged if not problem.verifier), None)
    if unjudged is not None:
        raise RecipeError(
            f"verifier: none for problem {unjudged.id!r} of {unjudged.source!r}; set verifier: (numeric, ...)"
        )
    golds = Golds(table, stage.on_bad_gold, stage.workers)
    if reward:
        sources = {name: golds.usable(name, problems) for name, problems in sources.items()}
    sets = tuple(EvaluationSet(on.name, golds.usable(on.name, on.problems)) for on in sets)
    if stage.from_ is not None:
        tokenizer, context = before[stage.from_].tokenizer, before[stage.from_].renderer.context
    else:
        assert location is not None  # without `from` a stage has a model of its own
        models.check(location)
        if isinstance(stage, TrainStageConfig):
            compute.check(stage)
        tokenizer, config = models.load_tokenizer(location), models.load_config(location)
        context = models.context_length(config)
        limit = factory.check(stage.engine, config)
    renderer = renderer_of(tokenizer, stage.prompt, min(filter(None, (context, limit)), default=None))
    steps, longest = _check_lengths(stage, sources, sets, renderer, built)
    if not before and stage.stop.max_tokens and stage.stop.max_tokens < longest:
        raise RecipeError(
            f"stop.max_tokens: {stage.stop.max_tokens} does not pay for one problem, which may cost {int(longest)}"
        )
    return Ready(
        stage, location, tokenizer, sources, sets, renderer, built, reward, second, table, steps, longest, golds.notes
    )


def problems_of(source: SourceConfig, name: str, stage: AnyStageConfig, base: Path, key: str = "") -> list[Problem]:
    """The problems of one source of a stage, which stands under `key` of the recipe; none yet of one that an earlier
    stage makes (`filled`)."""
    if source.stage is not None:
        return []
    if isinstance(stage, SftStageConfig) and source in stage.data.values():
        source = sft.demonstrations(source)
    spec = source.verifier or stage.verifier
    return load_problems(source, name, verification.key_of(spec) if spec else "", base, key)


def _origins(stage: AnyStageConfig) -> list[str]:
    """Earlier stages whose datasets it reads."""
    return [source.stage for source in stage.data.values() if source.stage]


def reward_of(stage: AnyStageConfig) -> Reward | None:
    if isinstance(stage, SftStageConfig):
        return None
    return Reward(stage.reward, max_new_tokens=stage.max_new_tokens, truncated=stage.truncated)


def objective_of(stage: AnyStageConfig) -> objective.Objective:
    built = objective.build(
        stage.objective, max_new_tokens=stage.max_new_tokens, truncated=stage.truncated, group_size=stage.group_size
    )
    if built.rule.samples != (not isinstance(stage, SftStageConfig)):
        raise RecipeError(
            f"objective: preset {stage.objective.preset!r} in a stage of kind {stage.kind}; "
            f"{'sft learns from demonstrations only, use kind: rl' if built.rule.samples else 'use kind: sft'}"
        )
    return built


def specs_of(stage: AnyStageConfig) -> list:
    sources = [*stage.data.values(), *stage.eval.sets.values()]
    return [spec for spec in (stage.verifier, *(source.verifier for source in sources)) if spec]


def check_metrics(stage: AnyStageConfig) -> None:
    keys = ["avg", "low", "high", "score", "errors", "completion"]
    keys += [f"pass@{k}" for k in depths(stage.eval.n) if stage.eval.n > 1]
    known = [f"eval/{name}/{key}" for name in stage.eval.sets for key in keys]
    for what, metric in (("eval.keep_best", stage.eval.keep_best), ("stop.metric", stage.stop.metric)):
        if metric is not None and metric not in known:
            raise RecipeError(f"{what}: {metric!r} is not evaluated; use one of {', '.join(known) or '(no eval.sets)'}")


def check_names(stage: AnyStageConfig) -> None:
    """Names of sources and sets become file names and metric keys."""
    for what, names in (("data", stage.data), ("eval.sets", stage.eval.sets)):
        for name in names:
            # "gym:chain_sum"; not "held out"
            if not re.fullmatch(r"[\w.:-]+", name):
                raise RecipeError(f"{what}: name {name!r} must be letters, digits, '.', '_', ':' or '-'")


def _check_ids(sources: Mapping[str, list[Problem]]) -> None:
    seen: dict[str, str] = {}
    for name, problems in sources.items():
        for problem in problems:
            if seen.setdefault(problem.id, name) != name:
                raise RecipeError(
                    f"data: problem id {problem.id!r} stands in {seen[problem.id]!r} and {name!r}; map columns.id"
                )


def _check_lengths(
    stage: AnyStageConfig,
    sources: Mapping[str, list[Problem]],
    sets: tuple[EvaluationSet, ...],
    renderer: Renderer,
    built: objective.Objective,
) -> tuple[int | None, float]:
    """Steps of the stage and the most that a problem can cost. RecipeError for a prompt longer than the context."""
    try:
        for on in sets:
            renderer.check(on.problems, stage.eval.max_new_tokens or stage.max_new_tokens)
        if isinstance(stage, EvalStageConfig):
            return None, 0
        if isinstance(stage, SftStageConfig):
            longest = sft.check(sources, renderer)
            if not all(sources.values()):  # an earlier stage has still to make them
                return stage.steps, stage.max_new_tokens
            return sft.steps_of(stage, sum(map(len, sources.values()))), longest
        shown = sft.check(sources, renderer) if built.rule.demonstrates else 0
        for problems in sources.values():
            renderer.check(problems, stage.max_new_tokens)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(str(error)) from None
    sampled = stage.group_size * stage.max_new_tokens
    if isinstance(stage, RejectStageConfig):
        return stage.steps or math.ceil(sum(map(len, sources.values())) / stage.prompts_per_step), sampled
    return stage.steps, sampled * (built.max_draws * built.rule.attempts + stage.reuse) + shown * stage.reuse
