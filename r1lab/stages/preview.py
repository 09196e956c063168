"""What a run would do, as lines for people: the first prompt, what its reference is worth, the engine, a step, and what
differs from the defaults. Not what it costs (`r1lab.stages.costs`).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import r1lab_verifiers as verifiers
from r1lab import plugin
from r1lab.engines import factory
from r1lab.errors import RunError
from r1lab.objective import explain, filled
from r1lab.objective.labelled import LOSSES
from r1lab.objective.presets import PRESETS
from r1lab.recipe import (
    AnyStageConfig,
    DataStageConfig,
    ObjectiveConfig,
    PreferenceStageConfig,
    RewardModelStageConfig,
    SftStageConfig,
    TrainStageConfig,
)  # fmt: skip
from r1lab.recipe.base import Config
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.load import Plan
from r1lab.rollout import verification
from r1lab.stages import model_shapes
from r1lab.stages.prepare import Ready
from r1lab_data import Problem, labelled
from r1lab_data.tasks import VERIFIERS

PROMPT_LINES, LINE_CHARACTERS = 12, 200
"""Of a prompt, a demonstration or an answer that is shown."""
MANY_GOLDS = 512
"""Reference answers whose kind is looked at."""
ADAPTER_RATE = 1e-5
"""An adapter learns at rates from here on; below are those of full weights."""
TOLD_ELSEWHERE = ("name", "from_", "kind", "data", "steps", "prompts_per_step", "group_size", "threads")
"""Fields that are no news as differences: other lines say them, or they change nothing that is learned."""


def lines(ready: list[Ready], plan: Plan) -> list[str]:
    """Of each stage, with a line between."""
    told: list[str] = []
    config: Any = None
    for ready_stage in ready:
        if ready_stage.location:
            config = model_shapes.config_of(ready_stage.location)
        told += [f"stage {ready_stage.stage.name} ({ready_stage.stage.kind}), {_step(ready_stage.stage)}"]
        told += [f"  {line}" for line in (*_problem(ready_stage, plan), *_knobs(ready_stage, config))]
        told += [f"  note: {line}" for line in _warnings(ready_stage)]
    return told


def _step(stage: AnyStageConfig) -> str:
    if isinstance(stage, EvalStageConfig):
        return f"{stage.eval.n} completions a problem"
    if isinstance(stage, RewardModelStageConfig):
        return f"a step: {stage.prompts_per_step} pairs, or labelled completions, 1 update"
    if isinstance(stage, PreferenceStageConfig):
        return f"a step: {stage.prompts_per_step} pairs, 1 update"
    if isinstance(stage, SftStageConfig):
        return f"a step: {stage.prompts_per_step} demonstrations, 1 update"
    whole = stage.prompts_per_step * stage.group_size
    sampled = f"a step: {stage.prompts_per_step} problems x {stage.group_size} = {whole:,} completions"
    updates = stage.updates_per_step * stage.reuse
    return f"{sampled}, {updates} update{'s' * (updates > 1)}" if updates else sampled


def _problem(ready_stage: Ready, plan: Plan) -> Iterator[str]:
    """The first problem as the model reads it, its reference, and what the verifier says of that."""
    known = [(name, problems) for name, problems in ready_stage.sources.items() if problems]
    known += [(f"eval.sets.{each.name}", each.problems) for each in ready_stage.sets] * (not known)
    if not known or ready_stage.renderer is None:
        return
    name, problems = known[0]
    problem = problems[0]
    yield f"first prompt, of {name}:"
    yield from _quoted(ready_stage.renderer.prompt_text(problem))
    if labelled.is_labelled(problem):
        given = labelled.of(problem)
        for steps, marks in zip(given.completions, given.labels):
            yield f"its completion labelled {', '.join(map(str, marks))}:"
            yield from _quoted("".join(steps))
    elif isinstance(ready_stage.stage, SftStageConfig):
        yield "its demonstration:"
        yield from _quoted(problem.solution or "")
    else:
        yield f"its reference: {_line(str(problem.answer))}"
        yield f"verdict on the reference: {_verdict(ready_stage, problem, plan)}"


def _verdict(ready_stage: Ready, problem: Problem, plan: Plan) -> str:
    """What the problem's verifier says of its solution or, where there is none, of an answer made of the reference."""
    if not problem.verifier:
        return "none, for it has no verifier"
    key = problem.verifier.partition("#")[0]
    if key == "environment":
        return "none, for its environment judges what is played"
    table = verification.reference_table({key: ready_stage.table[problem.verifier]})
    try:
        with verification.opened_pool(table, ready_stage.stage.workers, plan.base) as pool:
            verdict = verification.submit_reference(pool, problem, key).result()
    except RunError as error:
        return str(error)
    score = "no score" if verdict.score is None else f"score {verdict.score:g}"
    return f"{verdict.status}, {score} ({key})" + (f": {_line(verdict.reason)}" if verdict.score != 1 else "")


def _knobs(ready_stage: Ready, config: Any) -> Iterator[str]:
    stage = ready_stage.stage
    if ready_stage.table or ready_stage.rewards:
        choice = factory.choose(stage.engine.kind, config, getattr(stage, "lora", None))
        yield f"engine: {choice.name} ({choice.why})"
    if isinstance(stage, RewardModelStageConfig):
        kinds: set[labelled.Kind] = {
            labelled.of(problems[0]).kind for problems in ready_stage.sources.values() if problems
        }
        yield from (f"objective: {LOSSES[kind].fn.__name__}" for kind in kinds)
    elif isinstance(stage, TrainStageConfig):
        yield _objective(stage.objective)
    yield f"differs from the defaults: {', '.join(differences(stage)) or 'nothing'}"


def _objective(knobs: ObjectiveConfig) -> str:
    """The preset's formula, and the fields in force that are not the preset's."""
    name = knobs.preset or "default"
    preset = plugin.find(PRESETS, name, "objective.preset")
    changed = [f"{key}={explain.written(now)} (not {explain.written(own)})" for key, now, own in explain.changes(knobs)]
    return f"objective: {name}: {preset.formula}" + (f"; but here {', '.join(changed)}" if changed else "")


def expanded(plan: Plan) -> Iterator[str]:
    """Comments under the whole recipe: every field of each stage's objective, of the preset or as stated."""
    for stage in plan.stages:
        if isinstance(stage, TrainStageConfig):
            stated = stage.objective.model_dump(exclude={"preset"}, exclude_none=True)
            yield f"# objective of stage {stage.name}, with all that preset {stage.objective.preset or 'default'} sets:"
            for key, value in filled(stage.objective).items():
                own = "" if key not in stated else " and what is stated" if value != stated[key] else "stated"
                whose = own if own == "stated" else f"the preset's{own}"
                yield f"#   {key}: {explain.written(value)}  ({whose})"


def differences(stage: AnyStageConfig) -> Iterator[str]:
    """`key.path=value` of every value that is not what would hold without it, such as a command line takes."""
    resolved = {"verifier": _own_verifier(stage), "schedule_steps": stage.steps, "epochs": 1.0}
    resolved |= {"eval.max_new_tokens": stage.max_new_tokens}
    if not isinstance(stage, DataStageConfig):
        del resolved["epochs"]
    usual = [f"{key}={_written(value)}" for key, value in resolved.items() if value is not None]
    yield from (each for each in _differences(stage) if each not in usual)
    if isinstance(stage, TrainStageConfig) and not isinstance(stage, RewardModelStageConfig):
        yield from (f"objective.{key}={_line(_written(now))}" for key, now, _ in explain.changes(stage.objective))


def _own_verifier(stage: AnyStageConfig) -> str | None:
    """The one that the stage's tasks have by themselves."""
    tasks = [source.task for source in (*stage.data.values(), *stage.eval.sets.values())]
    own = {VERIFIERS.get(task.partition(":")[0]) if task else None for task in tasks}
    return own.pop() if len(own) == 1 else None


def _differences(knobs: Config, path: str = "") -> Iterator[str]:
    for name, field in type(knobs).model_fields.items():
        value, default = getattr(knobs, name), field.get_default(call_default_factory=True)
        if (not path and name in (*TOLD_ELSEWHERE, "objective")) or value == default:
            continue
        if isinstance(value, Config) and default is None:  # there is one at all: `lora: {}`
            yield f"{path}{name}={_line(_written(value.model_dump(exclude_defaults=True)))}"
        elif isinstance(value, Config):
            yield from _differences(value, f"{path}{name}.")
        elif isinstance(value, dict) and any(isinstance(each, Config) for each in value.values()):
            yield f"{path}{name}: {', '.join(value)}"
        else:
            yield f"{path}{name}={_line(_written(value))}"


def _written(value: Any) -> str:
    """A value as a command line takes it."""
    if isinstance(value, str):
        return repr(value) if re.search(r"\s", value) or not value else value  # "Q: {prompt}", ""; not "local"
    return json.dumps(_with_words(value), default=str)


def _with_words(value: Any) -> Any:
    """The value with the keys `yes` and `no`, which YAML without quotes reads as truth values, as they were written."""
    if isinstance(value, dict):
        words = {True: "yes", False: "no"}
        return {words[key] if isinstance(key, bool) else key: _with_words(each) for key, each in value.items()}
    return value


def _warnings(ready_stage: Ready) -> Iterator[str]:
    stage = ready_stage.stage
    if isinstance(stage, TrainStageConfig):
        updates = (ready_stage.steps or 0) * stage.updates_per_step * stage.reuse
        warmup = stage.optimizer.warmup_updates
        if ready_stage.steps and updates < warmup:
            share = {0.5: "half"}.get(updates / warmup, f"{updates / warmup:.0%}")
            yield (
                f"steps: {ready_stage.steps} with optimizer.warmup_updates {warmup}: the rate ends at {share} of "
                "learning_rate"
            )
        if stage.lora is not None and stage.learning_rate < ADAPTER_RATE:
            yield (
                f"lora with learning_rate {stage.learning_rate:g}, a rate of full weights: an adapter learns at some "
                "ten times that, 1e-5 to 1e-4"
            )
    yield from _word_golds(ready_stage)


def _word_golds(ready_stage: Ready) -> Iterator[str]:
    """Where a verifier of values reads every reference as words alone."""
    built_in = set(verifiers.BUILT_IN.values())
    for name, problems in ready_stage.sources.items():
        some = problems[:MANY_GOLDS]
        resolved = ready_stage.table.get(some[0].verifier) if some else None
        if resolved is None or resolved.path not in built_in or not ready_stage.rewards:
            continue
        live = resolved.build()
        words = sum(live.describe(problem.answer) == "text" for problem in some)
        if words > len(some) / 2:
            yield (
                f"{words} of {len(some)} reference answers of {name} are words, which are compared as text alone; map "
                "the column that holds values, or use verifier: exact or choice"
            )


def _quoted(text: str) -> Iterator[str]:
    rows = text.split("\n")
    yield from (f"  | {_line(row)}" for row in rows[:PROMPT_LINES])
    if len(rows) > PROMPT_LINES:
        yield f"  | ... {len(rows) - PROMPT_LINES} more lines"


def _line(text: str) -> str:
    """On one line, cut."""
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return plain if len(plain) <= LINE_CHARACTERS else f"{plain[:LINE_CHARACTERS]} ..."
