"""A dry run: what a recipe would do and cost, once everything of it that can be checked is. Runs nothing.

Where a recipe needs the hub and the hub cannot be reached, what needs neither tokenizer nor data is checked all the
same: knobs, objective, rewards, verifiers, the model's skeleton on the meta device (`r1lab.stages.model_shapes` knows
some), length. What was left unchecked is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r1lab import plugin
from r1lab.errors import RecipeError, RunError
from r1lab.policy.location import locate, model_hint
from r1lab.recipe import AnyStageConfig, LearningStageConfig, load
from r1lab.recipe.load import Plan
from r1lab.stages import check
from r1lab.stages.check_objective import reference_of
from r1lab_data.files import HUB_ID, local, probe
from r1lab_data.names import published_hint
from r1lab_data.problem import DataError
from r1lab_data.rows import suffix

if TYPE_CHECKING:
    from r1lab.stages.prepare import Ready


def dry_run(plan: Plan, processes: int = 1, *, is_full: bool = False, device: str | None = None) -> str:
    """For people, of a run by so many processes; `is_full` ends in the whole recipe, `device` names a GPU that its
    memory is told of in place of this machine's. RecipeError in one line for whatever is wrong; what would be refused
    for its folder alone raises what a start would."""
    text, refusal = told(plan, processes, is_full=is_full, device=device)
    if refusal is not None:
        raise refusal
    return text


def told(
    plan: Plan, processes: int = 1, *, is_full: bool = False, device: str | None = None, back_to: str = ""
) -> tuple[str, RecipeError | RunError | None]:
    """The text of a dry run, and the error that a start would end in for the run's folder. `back_to` is the checkpoint
    that the start would go back to."""
    remote, missing = _remote(plan), list[str]()
    reason = _unreachable(remote) if remote else ""
    checked = [] if reason else check.check(plan, missing)
    from r1lab.stages import costs, gpu_memory, preview  # these load torch, which no mistake above waits for
    from r1lab.stages.prepare import prepare

    ready = outlined(plan, missing) if reason else prepare(plan, checked, missing)
    hints = "".join(map(published_hint, remote))
    notes = [f"not checked, for {reason}: the tokenizer or data of {', '.join(remote)}{hints}"] if reason else []
    notes += [f"prompts counted as {costs.PROMPT_TOKENS:,} tokens"] if reason else []
    notes += [f"note: {line} (a dry run does without)" for line in dict.fromkeys(missing)]
    card = gpu_memory.card_of(device)
    lines = [*preview.lines(ready, plan), *costs.lines(ready, processes, card), *notes]
    about_folder, refusal = _folder(plan, ready, back_to)
    lines += about_folder
    whole = ["", load.dump(plan).rstrip(), *preview.expanded(plan)] if is_full else ["the whole recipe: --full"]
    return "\n".join([*lines, *whole]), refusal


def _folder(plan: Plan, ready: list[Ready], back_to: str) -> tuple[list[str], RecipeError | RunError | None]:
    """What a start would find at `out`, a line or two, and what it would be refused with."""
    from r1lab.run import files, rewind
    from r1lab.run.folder import folder, refuse_in_use
    from r1lab.run.manifest import identity
    from r1lab.stages import costs, standing

    digests = {key: value for each in ready for key, value in each.digests.items()}
    unread = [f"{each.stage.name}/{name}" for each in ready for name in each.stage.data if name not in each.sources]
    if unread and plan.out is None and not back_to:
        return [f"out: runs/{plan.name}-<hash>, a hash also of the data that was not read"], None
    digests |= standing.recorded(plan.out, unread) if plan.out else {}
    own = identity(plan, digests)
    path = folder(plan, own)
    try:
        stands = standing.look(ready, path, own)
        refuse_in_use(path)
        checkpoint = rewind.target(path, back_to) if back_to else None
    except (RecipeError, RunError) as error:
        return [f"out: {path}, would be refused: {error}"], error
    about = {
        "new": "a new run",
        "resumed": f"a run that would be resumed {stands.where}",
        "finished": "a run that is finished; raise steps to go on, or set another out=",
    }
    if checkpoint is not None:
        stage, step = checkpoint
        about["finished"] = about["resumed"] = f"a run that would go back to step {step} of stage {stage}"
    lines = [f"out: {path}, {about[stands.state]}"]
    try:
        files.require_space(path, costs.disk(ready), RecipeError)
    except RecipeError as error:
        lines.append(f"note: {error}")
    return lines, None


def outlined(plan: Plan, missing: list[str] | None = None) -> list[Ready]:
    """Every stage as far as it is known without tokenizer and remote data: no renderer, and nothing in its place."""
    plugin.importable(plan.base, Path.cwd())
    ready: dict[str, Ready] = {}
    for stage in plan.stages:
        try:
            ready[stage.name] = _outlined(stage, plan, ready, missing)
        except RecipeError as error:
            raise RecipeError(check.of_stage(plan, stage, error)) from None
    return list(ready.values())


def _outlined(stage: AnyStageConfig, plan: Plan, before: Mapping[str, Ready], missing: list[str] | None) -> Ready:
    from r1lab.engines import factory
    from r1lab.policy import models
    from r1lab.rollout import sft
    from r1lab.stages import model_shapes
    from r1lab.stages.prepare import Ready

    built, rewards = check.check_knobs(stage, missing)
    with check.lacking(missing):
        factory.check(stage.engine, None, getattr(stage, "lora", None))
    table = check.tables(stage, rewards)
    location = locate(stage.model, plan.base) if stage.from_ is None else None
    start = location or next(each.location for each in _lineage(stage, before) if each.location)
    if not Path(start).is_dir() and start not in model_shapes.SHAPES:
        known = ", ".join(model_shapes.SHAPES)
        raise RecipeError(
            f"model: the hub cannot be asked for {start!r}; its shape is not known here; known: {known}"
            f"{model_hint(start, plan.base)}"
        )
    config = model_shapes.config_of(start)
    models.check_shape(config)
    context = models.context_length(config)
    longest = max(stage.max_new_tokens, stage.eval.max_new_tokens or 0)
    if context and longest >= context:
        raise RecipeError(f"max_new_tokens: {longest} leaves no room for a prompt in the context of {context}")
    cost = stage.group_size * stage.max_new_tokens * (built.max_draws * built.rule.attempts + stage.reuse)
    here = {name: source for name, source in stage.data.items() if not _is_remote(source.path, plan)}
    sources = {name: check.problems_of(source, name, stage, plan.base, "data") for name, source in here.items()}
    steps = stage.steps
    if (
        isinstance(stage, LearningStageConfig)
        and stage.epochs
        and len(here) == len(stage.data)
        and all(sources.values())
    ):
        steps = sft.steps_of(stage, sum(map(len, sources.values())))
    # No renderer without a tokenizer; of what is read here `costs.memory` alone would use it, and knows.
    unread: Any = None
    reference = reference_of(stage, plan.base)
    return Ready(stage, location, reference, sources, (), built, rewards, table, (), tokenizer=None, renderer=unread,
                 steps=steps, longest_cost=cost)  # fmt: skip


def _lineage(stage: AnyStageConfig, before: Mapping[str, Ready]) -> list[Ready]:
    """The stages that the stage's model went through, the last one first."""
    chain = []
    while stage.from_ is not None:
        chain.append(before[stage.from_])
        stage = chain[-1].stage
    return chain


def _remote(plan: Plan) -> list[str]:
    """Models and datasets of the plan that are not on this machine."""
    names: list[str] = []
    for stage in plan.stages:
        if stage.from_ is None and not Path(locate(stage.model, plan.base)).is_dir():
            names.append(stage.model)
        reference = reference_of(stage, plan.base)
        if reference and not Path(reference).is_dir():
            names.append(reference)
        sources = (*stage.data.values(), *stage.eval.sets.values())
        names += [source.path for source in sources if source.path and _is_remote(source.path, plan)]
    return list(dict.fromkeys(names))


def _is_remote(path: str | None, plan: Plan) -> bool:
    """A URL, or a hub id that is no file here; a file that is missing is a mistake, and found as one."""
    if path is None or local(path, plan.base) is not None:
        return False
    is_id = HUB_ID.fullmatch(path) and not suffix(path) and not path.startswith((".", "/", "~"))
    return bool(is_id) or path.startswith(("http://", "https://"))


def _unreachable(remote: list[str]) -> str:
    """Why the hub cannot be asked, or an empty text."""
    from datasets import config

    if config.HF_HUB_OFFLINE:
        return ""
    try:
        probe(remote[0])
    except DataError:
        return "the hub cannot be reached"
    return ""
