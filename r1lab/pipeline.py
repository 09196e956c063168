"""Stages in order, each resumable; the model is handed on. What a step does stands in `r1lab.loop`."""

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import torch

from r1lab import engines, loop
from r1lab.distributed import ranks
from r1lab.engines import factory
from r1lab.engines.sync import publish
from r1lab.errors import RecipeError
from r1lab.evaluation.evaluate import EvaluationSet, evaluate, sampling_of, summary
from r1lab.hub import model_card
from r1lab.policy import models
from r1lab.policy.frozen import Sampled
from r1lab.policy.policy import Policy
from r1lab.recipe import RlStage, SftStage, Stage
from r1lab.recipe.base import digest
from r1lab.recipe.load import Plan
from r1lab.rollout.sft import SftFeed
from r1lab.rollout.verification import version_of, warnings
from r1lab.run import checkpoint, journal
from r1lab.run.folder import RunFolder, folder, open_run
from r1lab.run.ledger import Ledger
from r1lab.run.manifest import identity, num_threads
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import Stopping, goal_of
from r1lab.run.trackers import Trackers
from r1lab.stages import build, costs, eval, reject
from r1lab.stages.prepare import Ready, filled, prepare
from r1lab_data.loaders import digest as content_digest


@dataclass(frozen=True)
class Run:
    """What a finished run left behind."""

    path: Path
    model: Path | None
    """Hugging Face folder; None where no stage trains."""
    metrics: list[dict]
    """Rows of metrics.jsonl."""


def train(plan: Plan, progress: Progress | None = None) -> Run:
    """Run a plan to its end, from where its folder stands. RecipeError before anything is written, later RunError.

    Where a launcher started several processes they run it together; all of them have the same rows in the end.
    """
    with ranks.session():
        return _train(plan, progress if progress and ranks.is_first() else Progress(quiet=not ranks.is_first()))


def _train(plan: Plan, progress: Progress) -> Run:
    ready = ranks.together(lambda: prepare(plan))
    digests = {key: value for each in ready for key, value in each.digests.items()}
    versions = {key: version_of(resolved) for each in ready for key, resolved in each.table.items()}
    needed = costs.disk(ready)
    ranks.first(_refuse_changed_ends, ready, folder(plan, identity(plan, digests)))
    with open_run(plan, digests, verifier_versions=versions, extra=_pinned(ready), needed_bytes=needed) as run:
        for warning in run.warnings:
            progress.say(f"warning: {warning}")
        for note in (note for each in ready for note in each.notes):
            run.note(note)
            progress.say(f"warning: {note}")
        if run.finished:
            progress.say(f"{run.path} is finished; raise steps to go on, or set another out=")
        else:
            progress.say(f"writing to {run.path}")
            _stages(ready, plan, run, progress)
        lines = ranks.first(run.metrics.read_text, encoding="utf-8").splitlines()
    progress.close()
    return Run(run.path, run.model if _trained(ready) else None, [json.loads(line) for line in lines])


def _trained(ready: list[Ready]) -> list[Ready]:
    """The stages that make a model."""
    return [each for each in ready if isinstance(each.stage, Stage)]


def _pinned(ready: list[Ready]) -> dict:
    """What defaults resolve to at the first start and then stays."""
    pinned, configs = {}, {}
    for each in ready:
        name = each.stage.name
        configs[name] = models.load_config(each.location) if each.location else configs[each.stage.from_]
        taken = factory.choose(each.stage.engine.kind, configs[name], getattr(each.stage, "lora", None))
        pinned[name] = {
            **({"schedule_steps": each.stage.schedule_steps or each.steps} if isinstance(each.stage, Stage) else {}),
            "engine": taken.name,
            "engine_reason": taken.why,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
    return pinned


def _stages(ready: list[Ready], plan: Plan, run: RunFolder, progress: Progress) -> None:
    wanted = {stage.name: stage.trackers for stage in plan.stages} if ranks.is_first() else {}
    with closing(Trackers(run, wanted, progress.say)) as trackers:
        _all_stages(ready, plan, run, progress, MetricsFile(run.metrics, trackers.follow))
        trackers.catch_up()
    ranks.first(_last_model, _trained(ready), ready, plan, run)
    run.finish()


def _last_model(trained: list[Ready], ready: list[Ready], plan: Plan, run: RunFolder) -> None:
    """The card of every stage that trains, and the last one's model as the run's."""
    for each in trained:
        model_card.write(run.stage_folder(each.stage.name) / "model", ready[: ready.index(each) + 1], plan, run)
    if trained:
        with checkpoint.atomic_folder(run.model) as made:
            shutil.copytree(run.stage_folder(trained[-1].stage.name) / "model", made, dirs_exist_ok=True)


def _all_stages(ready: list[Ready], plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile) -> None:
    ledger, start = Ledger(), 0
    for number in range(len(ready)):
        each = ready[number] = filled(ready[number], run.stage_folder)
        name = each.stage.name
        ended = _ended(run, each)
        if ended is not None:
            ledger.load_state_dict(ended["ledger"])
            start = ended["metrics"]
            continue
        if checkpoint.latest(run.checkpoints, name) is None:
            metrics.truncate(start)
        with ExitStack() as stack:
            torch.set_num_threads(num_threads(each.stage))
            RUNNERS.get(each.stage.kind, _stage)(each, plan, run, progress, metrics, ledger, stack)
        start = metrics.size
        if each is not ready[-1]:
            checkpoint.prune(run.checkpoints, name, keep=0)  # its end is fixed: the next stage starts from it


def _refuse_changed_ends(ready: list[Ready], path: Path) -> None:
    """RecipeError where a stage that others started from would have to end elsewhere than it did."""
    for each in ready[:-1]:
        record = path / "stages" / each.stage.name / "stage.json"
        if record.exists() and json.loads(record.read_text(encoding="utf-8"))["goal"] != goal_of(each.stage):
            raise RecipeError(
                f"stage {each.stage.name} is done and the next ones started from it; its steps and stop cannot "
                "change any more: restore them or set another out="
            )


@ranks.by_first
def _ended(run: RunFolder, each: Ready) -> dict | None:
    """The record of a stage that is done, or None where it has to run, or to go on to another end."""
    record = run.stage_folder(each.stage.name) / "stage.json"
    if not record.exists():
        return None
    ended = json.loads(record.read_text(encoding="utf-8"))
    if ended["goal"] == goal_of(each.stage):
        return ended
    shutil.rmtree(run.stage_folder(each.stage.name))
    return None


def _stage(
    each: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build a stage's parts, run it, hand on its model."""
    stage, objective = each.stage, each.objective
    if isinstance(stage, SftStage) and run.pinned[stage.name]["schedule_steps"] is None:
        run.pin(stage.name, "schedule_steps", each.steps)  # known since an earlier stage made its data
    schedule = run.pinned[stage.name]["schedule_steps"] or 0
    policy = Policy(
        build.start(each, run),
        stage,
        total_updates=schedule * stage.updates_per_step * stage.reuse,
        temperature=stage.temperature,
        needs_ref="ref" in objective.needs,
        seed=plan.seed,
        value_rate=objective.credit.value_rate if objective.has_values else None,
    )
    judge = engine = None
    if each.table:
        judge, engine = build.judge(each, plan, stack), _engine(each, run, policy, progress, stack)
    if isinstance(stage, RlStage):
        feed = build.feed(each, plan, engine, judge)
    else:
        sampler = build.sampler(each, plan)
        feed = SftFeed(stage=stage, seed=plan.seed, sampler=sampler, renderer=each.renderer, objective=objective)
    stopping = Stopping(stage, each.steps, each.longest_cost)
    progress.stage(stage.name, each.steps, stage.stop.max_tokens)
    progress.warnings = warnings(each.table)
    loop.train(
        stage=stage,
        run=run,
        policy=policy,
        feed=feed,
        objective=objective,
        ledger=ledger,
        metrics=metrics,
        stopping=stopping,
        progress=progress,
        problem_of=each.problems.__getitem__,
        evaluate=_evaluation(each, plan.seed, run, policy, engine, judge, ledger),
    )
    if not policy.version:
        note = f"stage {stage.name} ended before its first step: the budget left nothing; its model is as it came"
        run.note(note)
        progress.say(f"warning: {note}")
    ranks.first(_hand_on, each, run, policy.whole(), ledger, metrics)


def _reject(
    each: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build a reject stage's parts, sample, hand on its dataset."""
    stage = each.stage
    policy = Sampled(build.start(each, run), stage.precision, stage.temperature or 1.0)
    feed = build.feed(each, plan, _engine(each, run, policy, progress, stack), build.judge(each, plan, stack))
    progress.stage(stage.name, each.steps, stage.stop.max_tokens)
    progress.warnings = warnings(each.table)
    kept = reject.sample(each, run=run, policy=policy, feed=feed, ledger=ledger, metrics=metrics, progress=progress)
    model = f"the model of stage {stage.from_}" if stage.from_ else model_card.clean(stage.model, "model", plan)
    ranks.first(reject.hand_on, each, kept, run=run, model=model, ledger=ledger, size=metrics.size)


RUNNERS = {"reject": _reject, "eval": ranks.by_first(eval.run_stage)}
"""What runs a stage that does not train."""


def _engine(
    each: Ready, run: RunFolder, policy: Policy | Sampled, progress: Progress, stack: ExitStack
) -> engines.Engine:
    """What was pinned at the first start. RecipeError where it cannot run here, or not such a model."""
    pinned = run.pinned[each.stage.name]
    progress.say(f"engine: {pinned['engine']} ({pinned.get('engine_reason', 'as at the first start')})")
    engine = factory.opened(pinned["engine"], each.stage.engine, policy, each.renderer.verifier_text, progress.say)
    stack.callback(engine.close)
    if about := getattr(engine, "about", ""):
        run.note(about)
    return engine


def _evaluation(each: Ready, seed: int, run: RunFolder, policy: Policy, engine, judge, ledger: Ledger) -> Callable:
    """evaluate(step) over the stage's sets; a table that is there is read instead of sampled again."""
    stage = each.stage
    knobs = stage.eval
    sampling = sampling_of(knobs, stage.max_new_tokens, stage.sampling.stop)

    judges = {key: version_of(resolved) for key, resolved in each.table.items()}
    content = {on.name: [content_digest(on.problems), judges] for on in each.sets}
    prompts = {on.name: sum(len(each.renderer.render(problem)) for problem in on.problems) for on in each.sets}

    def rows_of(on: EvaluationSet, step: int) -> list[tuple[str, float | None, str, int]]:
        path = run.evaluation(stage.name, step, on.name)
        settings = digest([content[on.name], vars(sampling), knobs.n, seed, policy.version])
        found = ranks.first(journal.read_evaluation, path)
        if found is None or found[1] != settings:
            publish(engine, policy.named_tensors, policy.version, policy)
            judged = evaluate(
                on, engine=engine, judge=judge, renderer=each.renderer, sampling=sampling, n=knobs.n, seed=seed
            )
            source, text = (lambda _: on.name), policy.prompt_text
            ranks.first(journal.write_evaluation, path, judged, settings, source_of=source, text_of_prompt=text)
            found = ranks.first(journal.read_evaluation, path)
        return [(row["problem_id"], row["score"], row["status"], row["num_tokens"]) for row in found[0]]

    def of_step(step: int) -> dict:
        metrics = {}
        for on in each.sets:
            rows = rows_of(on, step)
            ledger.evaluated(prompts[on.name] * knobs.n, sum(row[3] for row in rows), policy.parameters)
            metrics |= summary(on.name, rows, seed)
        return metrics

    return of_step


def _hand_on(each: Ready, run: RunFolder, policy: Policy, ledger: Ledger, metrics: MetricsFile) -> None:
    """The stage's folder: its model and the record that it is done, whole or not there."""
    best = run.best(each.stage.name)
    record = {"goal": goal_of(each.stage), "ledger": ledger.state_dict(), "metrics": metrics.size}
    with checkpoint.atomic_folder(run.stage_folder(each.stage.name)) as made:
        if each.stage.eval.keep_best and best.exists():
            shutil.copytree(best, made / "model")
        else:
            policy.save(made / "model")
        (made / "stage.json").write_text(json.dumps(record), encoding="utf-8")
