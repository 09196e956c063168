"""Check everything of a plan that can be wrong without its models: knobs, names, data, verifiers, reference answers.

It loads no torch, so that a mistake is told of within a second. What needs a tokenizer or a configuration stands in
`r1lab.stages.prepare`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import r1lab_verifiers as verifiers
from r1lab import objective, plugin
from r1lab.engines import ENGINES
from r1lab.errors import MissingHere, RecipeError
from r1lab.evaluation import leaks
from r1lab.evaluation.scores import depths
from r1lab.objective.labelled import preference_objective, reward_objective
from r1lab.policy.location import locate
from r1lab.recipe import (
    AnyStageConfig,
    DataStageConfig,
    PreferenceStageConfig,
    RewardModelStageConfig,
    RlStageConfig,
    SamplingStageConfig,
    SftStageConfig,
    SourceConfig,
)
from r1lab.recipe.base import digest as knobs_digest
from r1lab.recipe.load import Plan
from r1lab.records import EvaluationSet
from r1lab.rollout import curriculum, environment, labelled, renderer, scorer_specs, verification
from r1lab.rollout.gold_answers import Golds
from r1lab.rollout.problems import load_problems
from r1lab.rollout.reward import Reward, ScorerSpec
from r1lab.rollout.train_verifier import TrainVerifier, refuse_elsewhere
from r1lab.run import trackers
from r1lab.stages.check_objective import check_parts, check_reference, check_staleness, reference_of
from r1lab_data import Problem
from r1lab_data.labelled import of as labelled_of
from r1lab_data.loaders import digest
from r1lab_data.names import did_you_mean


@dataclass(frozen=True)
class Checked:
    """A stage with its data, whose model is not known yet."""

    stage: AnyStageConfig
    location: str | None
    """Where its model is, or None where it starts from the stage `from`."""
    reference: str | None
    """Where the model of its `reference` is; None where it names none, or one that a stage makes."""
    sources: Mapping[str, list[Problem]]
    sets: tuple[EvaluationSet, ...]
    objective: objective.Objective
    rewards: Mapping[str, Reward]
    """Of each source; none for stages that learn from the data's completions."""
    table: Mapping[str, verifiers.Resolved]
    notes: Sequence[str]
    """What of the data was left out."""
    scorers: Mapping[str, ScorerSpec] = field(default_factory=dict)
    """Behind the learned parts of the rewards, and a judge stage's, by key."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What a sampling stage asks with, by the name of its file's key."""

    @property
    def problems(self) -> dict[str, Problem]:
        return {problem.id: problem for problems in self.sources.values() for problem in problems}

    @property
    def digests(self) -> dict[str, str]:
        """Content hashes of the training data; what an earlier stage makes is known by what makes it."""
        made = {name: f"stage {source.stage}" for name, source in self.stage.data.items() if source.stage}
        read = {
            f"{self.stage.name}/{name}": made.get(name) or digest(problems) for name, problems in self.sources.items()
        }
        read |= {f"{self.stage.name}/scorer-{key}": scorer_specs.content_of(spec) for key, spec in self.scorers.items()}
        return read | ({f"{self.stage.name}/texts": knobs_digest(dict(self.texts))} if self.texts else {})


def early(plan: Plan) -> list[Checked] | None:
    """What `check` makes, before anything heavy is loaded; None in one of several processes, which check together."""
    return check(plan) if int(os.environ.get("WORLD_SIZE", "1")) < 2 else None


def check(plan: Plan, missing: list[str] | None = None) -> list[Checked]:
    """Every stage, checked. RecipeError in one line for what is wrong with the recipe or its data.

    `missing` takes what this machine lacks instead of an error."""
    plugin.importable(plan.base, Path.cwd())
    checked: list[Checked] = []
    for stage in plan.stages:
        try:
            checked.append(_checked(stage, plan, {each.stage.name: each for each in checked}, missing))
        except RecipeError as error:
            raise RecipeError(of_stage(plan, stage, error)) from None
    if any(stage.stop.no_signal for stage in plan.stages) and not any(map(is_rl, plan.stages)):
        raise RecipeError("stop.no_signal: no stage is of kind rl, and others learn from no rewards; leave it out")
    leaks.check([(each.stage, each.sources, each.sets) for each in checked])
    return checked


def of_stage(plan: Plan, stage: AnyStageConfig, error: RecipeError) -> str:
    """The message of an error, with the stage it is in where there are several."""
    return f"stage {stage.name}: {error}" if len(plan.stages) > 1 else str(error)


def _checked(stage: AnyStageConfig, plan: Plan, before: Mapping[str, Checked], missing: list[str] | None) -> Checked:
    built, rewards = check_knobs(stage, missing)
    location = locate(stage.model, plan.base) if stage.from_ is None else None
    reference = reference_of(stage, plan.base)
    notes: list[str] = []
    sources = {
        name: problems_of(source, name, stage, plan.base, key_of(stage, name), notes)
        for name, source in stage.data.items()
    }
    sets = tuple(
        EvaluationSet(name, problems_of(source, name, stage, plan.base, f"eval.sets.{name}", notes))
        for name, source in stage.eval.sets.items()
    )
    _check_ids(sources)
    if (drawn := curriculum_of(stage)) is not None and not origins(stage):
        drawn.check(sources)
    notes += environment.try_out(stage, {**sources, **{each.name: each.problems for each in sets}}, plan.base)
    if is_preference(stage):
        require_pairs(stage, sources, notes)
    table, scorers = tables(stage, rewards), scorer_specs.specs_of(stage, rewards, plan.base, before)
    texts = scorer_specs.texts_of(stage, plan.base)
    if isinstance(stage, RewardModelStageConfig):
        built = labelled_objective(stage, sources, sets)
        return Checked(stage, location, reference, sources, sets, built, {}, {}, notes)
    judged = [problem for part in sets for problem in part.problems]
    sampled = [problem for name in rewards for problem in sources[name]]
    own = {problem.verifier for problem in (*judged, *sampled) if problem.verifier}
    judged += [problem for problem in sampled if built.needs_score or rewards[problem.source].score]
    table |= verification.resolve(own - set(table))
    if rewards:  # what an earlier stage makes keeps its verifiers
        table |= {key: each for origin in origins(stage) for key, each in before[origin].table.items()}
    unjudged = next((problem for problem in judged if not problem.verifier), None)
    if unjudged is not None:
        raise RecipeError(
            f"verifier: none for problem {unjudged.id!r} of {unjudged.source!r}; set verifier: (numeric, ...)"
        )
    golds, control = Golds(table, stage.on_bad_gold, stage.workers), train_verifier(stage)
    for name, reward in rewards.items():
        golds.try_plug_ins({name: sources[name]}, {*reward.table, *control.table}, plan.base)
        sources[name] = golds.usable(name, sources[name])
        if sources[name]:
            golds.check_reward_functions(dict.fromkeys({**reward.table, **control.table}, sources[name][0]))
    control.check(sources, [name for name, reward in rewards.items() if reward.score], table)
    golds.try_plug_ins({each.name: each.problems for each in sets}, base=plan.base)
    sets = tuple(EvaluationSet(each.name, golds.usable(each.name, each.problems)) for each in sets)
    notes += golds.notes
    return Checked(stage, location, reference, sources, sets, built, rewards, table, notes, scorers, texts)


@contextmanager
def lacking(missing: list[str] | None) -> Iterator[None]:
    """Put what this machine lacks into the list; None: it is raised."""
    try:
        yield
    except MissingHere as error:
        if missing is None:
            raise
        missing.append(str(error))


def check_knobs(
    stage: AnyStageConfig, missing: list[str] | None = None
) -> tuple[objective.Objective, dict[str, Reward]]:
    """The objective and each source's reward that a stage's knobs describe; no data is read."""
    built = objective_of(stage)
    if stage.engine.kind != "auto":
        plugin.find(ENGINES, stage.engine.kind, "engine.kind")
    with lacking(missing):
        trackers.require(stage.trackers)
    curriculum_of(stage)
    renderer.refuse_contradictions(stage.prompt)
    check_names(stage)
    _refuse_unread_rewards(stage)
    check_metrics(stage)
    check_parts(built, stage)
    check_reference(built, stage)
    check_staleness(built, stage)
    refuse_elsewhere(judging(stage))
    environment.check(stage)
    check_episodes(stage, built)
    return built, rewards_of(stage)


def check_episodes(stage: AnyStageConfig, built: objective.Objective) -> None:
    """RecipeError for what an episode cannot be learned by, or what reads an environment that is not there."""
    played = environment.of_sources(stage, stage.data)
    if played and built.rule.forces:
        raise RecipeError(
            f"objective: preset {stage.objective.preset!r} begins completions with a part of a demonstration, which an "
            "episode of turns (environment, tools) has not; take another preset"
        )
    if played and built.step_credit and built.step_credit.source != "environment":
        raise RecipeError(
            f"objective.credit.source: {built.step_credit.source!r} tells steps of a text apart, and an episode's "
            "(environment, tools) has its turns for steps; take source: environment"
        )
    both = {**stage.data, **stage.eval.sets}
    played |= environment.of_sources(stage, stage.eval.sets)
    for name, source in both.items():
        said = source.verifier or stage.verifier
        if verification.name_of(said) == "environment" and not (
            name in played and environment.resolved(played[name]).has_verdict
        ):
            has = "one without verdict()" if name in played else "none"
            raise RecipeError(f"verifier: environment asks the environment of {name!r}, which has {has}; name another")
    if "environment" in getattr(stage, "reward", {}) and not set(stage.data) & set(played):
        raise RecipeError("reward.environment: no source of data has an environment; leave it out")


def tables(stage: AnyStageConfig, rewards: Mapping[str, Reward]) -> dict[str, verifiers.Resolved]:
    """The verifiers that a stage's knobs name."""
    sources = [*stage.data.values(), *stage.eval.sets.values()]
    named = [spec for spec in (stage.verifier, *(source.verifier for source in sources)) if spec]
    of_parts = {key: each for reward in rewards.values() for key, each in reward.table.items()}
    return verification.resolve(named) | of_parts | train_verifier(stage).table


def train_verifier(stage: AnyStageConfig) -> TrainVerifier:
    """What replaces the verdicts in training, of stages that sample for it."""
    return TrainVerifier(getattr(stage, "train_verifier", None))


def judging(stage: AnyStageConfig) -> Iterator[tuple[str, Any]]:
    """Where the stage names verifiers, and which."""
    yield "verifier", stage.verifier
    yield "second_verifier", getattr(stage, "second_verifier", None)
    rewards = {"reward": getattr(stage, "reward", {})}
    rewards |= {f"data.{name}.reward": source.reward for name, source in stage.data.items() if source.reward}
    for where, parts in rewards.items():
        yield from ((f"{where}.{name}", each if isinstance(each, dict) else name) for name, each in parts.items())
    for where, sources in (("data", stage.data), ("eval.sets", stage.eval.sets)):
        yield from ((f"{where}.{name}.verifier", source.verifier) for name, source in sources.items())


def key_of(stage: AnyStageConfig, source: str) -> str:
    """Where a source of training data stands in the recipe."""
    return "data" if len(stage.data) == 1 else f"data.{source}"


def problems_of(
    source: SourceConfig, name: str, stage: AnyStageConfig, base: Path, key: str = "", notes: list[str] | None = None
) -> list[Problem]:
    """The problems of one source of a stage, which stands under `key` of the recipe; none yet of one that an earlier
    stage makes. What was left out is said in `notes`."""
    if source.stage is not None:
        return []
    is_labelled = isinstance(stage, RewardModelStageConfig) or (is_preference(stage) and source in stage.data.values())
    demonstrates = isinstance(stage, SftStageConfig) and source in stage.data.values()
    spec = source.verifier or stage.verifier
    judging = [spec, *getattr(stage, "reward", {}).values(), getattr(stage, "second_verifier", None)]
    is_whole = not demonstrates and any(map(verification.is_reward_function, judging))
    is_paid = spec is not None or verification.SCORE in (
        source.reward or getattr(stage, "reward", {verification.SCORE})
    )
    more = {"demonstrates": demonstrates, "is_whole": is_whole, "is_labelled": is_labelled, "notes": notes}
    more["needs_answer"] = is_paid or source not in stage.data.values()
    return load_problems(source, name, verification.key_of(spec) if spec else "", base, key, **more)


def origins(stage: AnyStageConfig) -> list[str]:
    """Earlier stages whose datasets it reads."""
    return [source.stage for source in stage.data.values() if source.stage]


def curriculum_of(stage: AnyStageConfig) -> curriculum.Uniform | None:
    """The curriculum of an RL stage; other stages go over every problem."""
    return curriculum.build(stage.curriculum, stage.prompts_per_step) if isinstance(stage, RlStageConfig) else None


def rewards_of(stage: AnyStageConfig) -> dict[str, Reward]:
    if not isinstance(stage, SamplingStageConfig):
        return {}
    second = stage.second_verifier if isinstance(stage, RlStageConfig) else None
    knobs = {"max_new_tokens": stage.max_new_tokens, "truncated": stage.truncated, "second": second}
    knobs["pays"] = isinstance(stage, RlStageConfig)
    return {name: Reward(source.reward or stage.reward, **knobs) for name, source in stage.data.items()}


def objective_of(stage: AnyStageConfig) -> objective.Objective:
    if isinstance(stage, PreferenceStageConfig):
        return preference_objective(stage.objective)
    built = objective.build(
        stage.objective, max_new_tokens=stage.max_new_tokens, truncated=stage.truncated, group_size=stage.group_size
    )
    if built.rule.samples != (not isinstance(stage, DataStageConfig)):
        raise RecipeError(
            f"objective: preset {stage.objective.preset!r} in a stage of kind {stage.kind}; "
            f"{'sft learns from demonstrations only, use kind: rl' if built.rule.samples else 'use kind: sft'}"
        )
    return built


def is_rl(stage: AnyStageConfig) -> bool:
    return isinstance(stage, RlStageConfig)


def is_preference(stage: AnyStageConfig) -> bool:
    return isinstance(stage, PreferenceStageConfig)


def require_pairs(stage: AnyStageConfig, sources: Mapping[str, Sequence[Problem]], notes: list[str]) -> None:
    """RecipeError where a preference stage's data is none of pairs; margins, which no policy learns, are noted."""
    kind = labelled.kind_of((key_of(stage, name), problems) for name, problems in sources.items())
    kind = kind or ("pairs" if origins(stage) else None)
    if kind != "pairs":
        raise RecipeError(
            f"data: labelled {kind} in a preference stage, which learns from pairs; give chosen and rejected"
        )
    if any(labelled_of(problem).margin for problems in sources.values() for problem in problems):
        notes.append("data: its margins are a reward model's; this stage does not read them")


def labelled_objective(
    stage: RewardModelStageConfig, sources: Mapping[str, Sequence[Problem]], sets: Sequence[EvaluationSet]
) -> objective.Objective:
    """What a reward model learns from its data. RecipeError where that is of several kinds, or of none."""
    named = [(key_of(stage, name), problems) for name, problems in sources.items()]
    kind = labelled.kind_of([*named, *((f"eval.sets.{each.name}", each.problems) for each in sets)])
    if origins(stage) and kind not in (None, "pairs"):
        raise RecipeError(f"data: labelled {kind} beside the pairs of stage {origins(stage)[0]}; give each a stage")
    return reward_objective(kind or "pairs")


def _refuse_unread_rewards(stage: AnyStageConfig) -> None:
    """RecipeError for a source's reward where nothing is paid."""
    read = stage.data if isinstance(stage, RlStageConfig) else {}
    for key, source in [*stage.data.items(), *((f"eval.sets.{name}", each) for name, each in stage.eval.sets.items())]:
        if source.reward is not None and key not in read:
            raise RecipeError(
                f"{key}.reward: {source.reward!r} is paid nowhere; a training source of an rl stage has one"
            )


def check_metrics(stage: AnyStageConfig) -> None:
    keys = ["avg", "low", "high", "score", "errors", "completion"]
    keys += [f"pass@{k}" for k in depths(stage.eval.n) if stage.eval.n > 1]
    if isinstance(stage, RewardModelStageConfig):
        keys = ["avg", "low", "high", "auc"]
    known = [f"eval/{name}/{key}" for name in stage.eval.sets for key in keys]
    for what, metric in (("eval.keep_best", stage.eval.keep_best), ("stop.metric", stage.stop.metric)):
        if metric is not None and metric not in known:
            raise RecipeError(
                f"{what}: {metric!r} is not evaluated; use one of {', '.join(known) or '(no eval.sets)'}"
                f"{did_you_mean(metric, known)}"
            )


def check_names(stage: AnyStageConfig) -> None:
    """Names of sources and sets become file names and metric keys."""
    for what, names in (("data", stage.data), ("eval.sets", stage.eval.sets)):
        for name in names:
            # "gym:chain_sum"; not "held out"
            if not re.fullmatch(r"[\w.:-]+", name):
                raise RecipeError(f"{what}: name {name!r} must be letters, digits, '.', '_', ':' or '-'")
    for name, source in stage.data.items():
        if source.shift:
            raise RecipeError(
                f"{key_of(stage, name)}.shift: marks a set under eval.sets, this is trained on; leave it out"
            )


def _check_ids(sources: Mapping[str, list[Problem]]) -> None:
    seen: dict[str, str] = {}
    for name, problems in sources.items():
        for problem in problems:
            if seen.setdefault(problem.id, name) != name:
                raise RecipeError(
                    f"data: problem id {problem.id!r} stands in {seen[problem.id]!r} and {name!r}; map columns.id"
                )
