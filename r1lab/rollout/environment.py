"""From a recipe's environments to how their episodes are played: checks, prompts, bridges, and the host that runs them.

Not the playing (`r1lab.rollout.episode`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from r1lab.environments import schema
from r1lab.environments.host import Host
from r1lab.environments.pool import Broken
from r1lab.environments.resolve import ResolvedEnvironment, resolve
from r1lab.errors import RecipeError
from r1lab.recipe import AnyStageConfig, DataStageConfig, EnvironmentConfig, SourceConfig, WorkersConfig
from r1lab.recipe.environment import one_of
from r1lab.rollout.bridge import Bridge, rewrites_turns
from r1lab.rollout.episode import EpisodePlan, Episodes
from r1lab.rollout.renderer import Renderer
from r1lab_data import Problem
from r1lab_verifiers.version import version_of

Environments = Mapping[str, EnvironmentConfig]
"""By source of problems."""
INSPECTED = ("guess", "visible_tests")
"""Built-in environments whose problems must have a form: each is made once, which runs nothing."""
REWRITES = (
    "the tokenizer's chat template drops thinking from earlier turns; episodes keep what was sampled, and so does "
    "the template in the model's folder"
)


def of_sources(stage: AnyStageConfig | None, sources: Mapping[str, SourceConfig]) -> dict[str, EnvironmentConfig]:
    """The environment of each source that has one: its own, else the stage's."""
    default = one_of(stage.environment, stage.tools) if stage is not None else None
    found = {name: one_of(source.environment, source.tools) or default for name, source in sources.items()}
    return {name: config for name, config in found.items() if config is not None}


def resolved(config: EnvironmentConfig) -> ResolvedEnvironment:
    """RecipeError where it does not import, has another form, or a setting is wrong."""
    return resolve(config.use, config.settings, config.as_ or "")


@dataclass(frozen=True)
class Worlds:
    """What an evaluation's episodes are played in."""

    environments: Environments
    workers: WorkersConfig
    import_paths: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two evaluations the same one, as plain data."""
        return {"environment": {name: each.model_dump(mode="json") for name, each in self.environments.items()}}

    def host(self) -> Host:
        """Where their worlds live. Close it."""
        return _host(self.workers, self.import_paths)

    def opened(
        self, problems: Sequence[Problem], renderer: Renderer, seed: int, before: Episodes | None
    ) -> Episodes | None:
        """Episodes of these problems, with the host of those before."""
        if before is not None:
            return before
        named = {problem.id: problem for problem in problems}
        return opened(self.environments, named, renderer, self.workers, self.import_paths, seed)


def worlds_of(
    stage: AnyStageConfig | None, name: str, source: SourceConfig, workers: WorkersConfig, import_paths: tuple[str, ...]
) -> Worlds | None:
    """Those of a set, which may be a stage's; None where it has no environment."""
    found = of_sources(stage, {name: source})
    return Worlds(found, workers, import_paths) if found else None


def check(stage: AnyStageConfig) -> None:
    """RecipeError for environments that a stage cannot play, or that cannot be; no model is read."""
    data, sets = of_sources(stage, stage.data), of_sources(stage, stage.eval.sets)
    for name in data.keys() & sets.keys():
        if data[name] != sets[name]:
            raise RecipeError(f"eval.sets: {name!r} is also the name of a data source, of another environment")
    own = [name for name, source in stage.data.items() if one_of(source.environment, source.tools)]
    if own and isinstance(stage, DataStageConfig):
        raise RecipeError(f"data {own[0]}: an environment in a stage of kind {stage.kind}, which samples nothing")
    for config in {id(each): each for each in (*data.values(), *sets.values())}.values():
        resolved(config)


def try_out(stage: AnyStageConfig, problems: Mapping[str, Sequence[Problem]], base: Path) -> list[str]:
    """Let each environment play a turn of its source's first problem; a note where the turn failed. RecipeError where
    the environment itself does, or has no such problem. What is not replayable reaches outside and is not tried."""
    notes: list[str] = []
    found, seen = of_sources(stage, {**stage.data, **stage.eval.sets}), list[EnvironmentConfig]()
    for name, config in found.items():
        environment = resolved(config)
        if config.use in INSPECTED:
            _check_problems(environment, config.use, problems.get(name, ()))
        elif environment.replayable and not environment.is_confined and problems.get(name) and config not in seen:
            seen.append(config)
            with closing(_host(stage.workers, (str(base), os.getcwd()))) as host:
                notes += _tried(host, environment, config.use, problems[name][0])
    return notes


def _check_problems(environment: ResolvedEnvironment, use: str, problems: Sequence[Problem]) -> None:
    """RecipeError for a problem of which a built-in environment makes no world."""
    for problem in problems:
        try:
            environment.make(problem, 0)
        except ValueError as error:
            raise RecipeError(f"environment: {use} has no world of problem {problem.id!r}: {error}") from None


def _tried(host: Host, environment: ResolvedEnvironment, use: str, problem: Problem) -> list[str]:
    world = host.world(environment, problem, 0, "trial", 0)
    for ask in (world.start, partial(world.step, problem.solution or str(problem.answer)), world.end):
        answer = ask().result()
        if not isinstance(answer, Broken) and (answer.get("verdict") or {}).get("status") == "error":
            answer = Broken("error", answer["verdict"]["reason"])
        if isinstance(answer, Broken) and answer.status == "error":
            slow = ", or raise workers.deadline" if answer.reason.startswith("timeout") else ""
            raise RecipeError(
                f"environment: {use!r} cannot be played on problem {problem.id!r}: {answer.reason}; mend it{slow}"
            )
        if isinstance(answer, Broken):
            return [f"environment: {use!r} fails on a turn that holds the reference of {problem.id!r} "
                    f"({answer.status}: {answer.reason}); a turn that breaks it scores 0"]  # fmt: skip
    return []


def versions(stage: AnyStageConfig) -> dict[str, dict[str, Any]]:
    """What a manifest says of a stage's own environments and tools: a hash of all that their files import."""
    found = of_sources(stage, {**stage.data, **stage.eval.sets}).values()
    paths = {path for each in found for path in (each.use, *each.settings.get("tools", ())) if ":" in str(path)}
    made = {path: version_of(path) for path in sorted(paths)}
    return {
        f"environment {path}": {"settings": {}, "source": each.source, "packages": each.packages}
        for path, each in made.items()
    }


def equip(renderer: Renderer, environments: Environments) -> list[str]:
    """Let the renderer leave room for what is observed and tell chat templates of tools; what a user should know.
    RecipeError where a template has no form for it, or a tool is named like a special token."""
    notes = []
    for name, config in environments.items():
        renderer.observed[name] = config.max_observation_tokens
        environment = resolved(config)
        special = [str(token) for token in renderer.tokenizer.get_added_vocab()]
        schema.refuse_names([tool.name for tool in environment.tools], special, "tools")
        if environment.tools and renderer.template == "chat" and "tools" in str(renderer.tokenizer.chat_template):
            renderer.tools[name] = [tool.schema for tool in environment.tools]
        plan = plan_of(config, renderer)
        renderer.bridges[name] = plan.bridge, tuple(environment.stop_after)
    if environments and rewrites_turns(renderer):
        notes.append(REWRITES)
    if any(config.schedule == "free" for config in environments.values()):
        notes.append("environment.schedule: free: what is computed together depends on time; not bit-exact")
    return notes


def plan_of(config: EnvironmentConfig, renderer: Renderer) -> EpisodePlan:
    """RecipeError where no bridge can be found between two turns, or a frame leaves no room."""
    environment = resolved(config)
    try:
        bridge = Bridge(renderer, environment.role, config.frame)
    except ValueError as error:
        raise RecipeError(f"environment: {error}") from None
    if bridge.least > config.max_observation_tokens:
        raise RecipeError(
            f"environment.max_observation_tokens: {config.max_observation_tokens} holds no observation, whose frame "
            f"alone takes {bridge.least} tokens; raise it"
        )
    is_free = config.schedule == "free"
    return EpisodePlan(environment, config.max_turns, config.max_observation_tokens, bridge, is_free)


def opened(
    environments: Environments,
    problems: Mapping[str, Problem],
    renderer: Renderer,
    workers: WorkersConfig,
    import_paths: Iterable[str],
    seed: int,
) -> Episodes | None:
    """Episodes ready to be played; None where no source has an environment. Close their `host`."""
    if not environments:
        return None
    host = _host(workers, import_paths)
    plans = {name: plan_of(config, renderer) for name, config in environments.items()}
    return Episodes(plans, problems, renderer, host, seed)


def _host(workers: WorkersConfig, import_paths: Iterable[str]) -> Host:
    limits = {"deadline": workers.deadline, "memory_mb": workers.memory_mb, "import_paths": import_paths}
    return Host(workers=workers.count, **limits)
