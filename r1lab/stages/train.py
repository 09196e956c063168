"""Stages that train, `sft` and `rl`: build the parts, run the loop, hand on the model. What a step does stands in
`r1lab.loop`."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from r1lab import loop
from r1lab.distributed import ranks
from r1lab.engines import Engine
from r1lab.engines.sync import publish
from r1lab.evaluation.evaluate import evaluate
from r1lab.evaluation.scores import summary
from r1lab.policy import models
from r1lab.policy.policy import Policy
from r1lab.recipe import LearningStageConfig, RlStageConfig
from r1lab.recipe.base import digest
from r1lab.recipe.load import Plan
from r1lab.records import Asking, EvaluationSet
from r1lab.rollout.requests import evaluation_sampling
from r1lab.rollout.sft import SftFeed
from r1lab.rollout.verification import Verification, version_of, warnings
from r1lab.run import files, journal
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import Stopping, goal_of
from r1lab.stages import build
from r1lab.stages.prepare import Ready
from r1lab_data.loaders import digest as content_digest

Samplers = tuple[Engine, Verification]


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build a stage's parts, run it, hand on its model."""
    stage, objective = ready.stage, ready.objective
    assert isinstance(stage, LearningStageConfig)  # the pipeline calls by kind
    if stage.steps is None and ready.steps and run.pinned[stage.name]["schedule_steps"] is None:
        run.pin(stage.name, "schedule_steps", ready.steps)  # known since an earlier stage made its data
    schedule = run.pinned[stage.name]["schedule_steps"] or 0
    knobs: dict[str, Any] = {"temperature": stage.temperature, "needs_ref": "ref" in objective.needs, "seed": plan.seed}
    knobs["total_updates"] = schedule * stage.updates_per_step * stage.reuse
    knobs["value_rate"] = objective.credit.value_rate if objective.has_values else None
    policy = Policy(build.start(ready, run), stage, **knobs)
    models.stops_at(policy.model, policy.tokenizer, ready.renderer.turn_end)
    for note in policy.notes:
        run.note(note)
        progress.say(f"warning: {note}")
    samplers = engine = None
    if ready.table:
        verification = build.verification(ready, plan, stack)
        samplers = build.engine(ready, run, policy, progress, stack), verification
    if isinstance(stage, RlStageConfig):
        assert samplers is not None  # a stage with a reward has a table of verifiers
        engine = samplers[0]
        engine.weights_follow = True  # every block ends in an update, and that in a sync
        feed = build.feed(ready, plan, *samplers)
    else:
        sampler = build.sampler(ready, plan)  # nothing samples here; an evaluation takes the weights it needs
        feed = SftFeed(stage=stage, seed=plan.seed, sampler=sampler, renderer=ready.renderer, objective=objective)
    stopping = Stopping(stage, ready.steps, ready.longest_cost)
    progress.stage(stage.name, ready.steps, stage.stop.max_tokens)
    progress.warnings = warnings(ready.table)
    loop.train(
        stage=stage,
        run=run,
        policy=policy,
        feed=feed,
        engine=engine,
        objective=objective,
        ledger=ledger,
        metrics=metrics,
        stopping=stopping,
        progress=progress,
        problem_of=ready.problems.__getitem__,
        evaluate=_evaluation(ready, plan.seed, run, policy, samplers, ledger),
    )
    if not policy.version:
        note = f"stage {stage.name} ended before its first step: the budget left nothing; its model is as it came"
        run.note(note)
        progress.say(f"warning: {note}")
    ranks.first(_hand_on, ready, run, policy.whole(), ledger, metrics)


def _evaluation(
    ready: Ready, seed: int, run: RunFolder, policy: Policy, samplers: Samplers | None, ledger: Ledger
) -> Callable[[int, Callable[[], AbstractContextManager]], dict]:
    """evaluate(step, own_work) over the stage's sets; a table that is there is read instead of sampled again."""
    stage, knobs = ready.stage, ready.stage.eval
    sampling = evaluation_sampling(stage)

    judges = {key: version_of(resolved) for key, resolved in ready.table.items()}
    content = {eval_set.name: [content_digest(eval_set.problems), judges] for eval_set in ready.sets}
    prompts = {
        eval_set.name: sum(len(ready.renderer.render(problem)) for problem in eval_set.problems)
        for eval_set in ready.sets
    }

    def rows_of(eval_set: EvaluationSet, step: int, own_work: Callable[[], AbstractContextManager]) -> list[dict]:
        path = run.evaluation(stage.name, step, eval_set.name)
        settings = digest([content[eval_set.name], vars(sampling), knobs.n, seed, policy.version])
        table = ranks.first(journal.read_evaluation, path)
        if table is None or table[1] != settings:
            assert samplers is not None  # the sets' verifiers are in the table
            engine, verification = samplers
            publish(engine, policy)
            asking, everything = Asking(eval_set, knobs.n, seed, sampling), range(len(eval_set.problems))
            parts = {"engine": engine, "renderer": ready.renderer, "verify": verification.submit, "own_work": own_work}
            judged = evaluate(asking, everything, **parts)
            source, text = (lambda _: eval_set.name), policy.prompt_text
            ranks.first(journal.write_evaluation, path, judged, settings, source_of=source, text_of_prompt=text)
            table = ranks.first(journal.read_evaluation, path)
            assert table is not None  # just written
        return table[0]

    def of_step(step: int, own_work: Callable[[], AbstractContextManager]) -> dict:
        metrics = {}
        for eval_set in ready.sets:
            rows = rows_of(eval_set, step, own_work)
            sampled = sum(row["num_tokens"] for row in rows)
            ledger.evaluated(prompts[eval_set.name] * knobs.n, sampled, policy.parameters)
            metrics |= summary(eval_set.name, rows, seed)
        return metrics

    return of_step


def _hand_on(ready: Ready, run: RunFolder, policy: Policy, ledger: Ledger, metrics: MetricsFile) -> None:
    """The stage's folder: its model and the record that it is done, whole or not there."""
    best = run.best(ready.stage.name)
    record = {"goal": goal_of(ready.stage), "ledger": ledger.state_dict(), "metrics": metrics.size}
    with files.atomic_folder(run.stage_folder(ready.stage.name)) as folder:
        if ready.stage.eval.keep_best and best.exists():
            shutil.copytree(best, folder / "model")
        else:
            policy.save(folder / "model")
        (folder / "stage.json").write_text(json.dumps(record), encoding="utf-8")
