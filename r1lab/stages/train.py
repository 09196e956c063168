"""Stages that train a policy: build the parts, run the loop, hand on the model. What a step does stands in
`r1lab.loop`."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from r1lab import loop
from r1lab.distributed import ranks
from r1lab.hub import chat_template
from r1lab.policy import models
from r1lab.policy.policy import Policy
from r1lab.recipe import PolicyStageConfig, PreferenceStageConfig, RlStageConfig
from r1lab.recipe.load import Plan
from r1lab.rollout.labelled import LabelledFeed
from r1lab.rollout.sft import SftFeed
from r1lab.rollout.verification import warnings
from r1lab.run import checkpoint
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import Stopping, goal_of
from r1lab.stages import build
from r1lab.stages.held_out import HeldOut, during_training
from r1lab.stages.prepare import Ready


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build a stage's parts, run it, hand on its model."""
    stage, objective = ready.stage, ready.objective
    assert isinstance(stage, PolicyStageConfig)  # the pipeline calls by kind
    schedule = build.schedule_steps(ready, run)
    knobs: dict[str, Any] = {"temperature": stage.temperature, "needs_ref": "ref" in objective.needs, "seed": plan.seed}
    knobs["total_updates"] = schedule * stage.updates_per_step * stage.reuse
    knobs["value_rate"] = objective.credit.value_rate if objective.has_values else None
    reference = build.reference(ready, run)
    policy = Policy(build.start(ready, run), stage, reference=reference, **knobs)
    if reference is not None:
        run.note(f"stage {stage.name}: reference {reference}, weights {policy.reference_digest}")
    models.stops_at(policy.model, policy.tokenizer, ready.renderer.turn_end)
    for note in policy.notes:
        run.note(note)
        progress.say(f"warning: {note}")
    samplers = engine = None
    if ready.table or ready.rewards:
        verification = build.verification(ready, plan, stack)
        samplers = build.engine(ready, run, policy, progress, stack), verification
        policy.engine_dtype = samplers[0].dtype
    if isinstance(stage, RlStageConfig):
        assert samplers is not None  # it has rewards
        engine = samplers[0]
        engine.weights_follow = True  # every block ends in an update, and that in a sync
        feed = build.feed(ready, plan, run, *samplers, stack)
    else:
        sampler = build.sampler(ready, plan)  # nothing samples here; an evaluation takes the weights it needs
        make = LabelledFeed if isinstance(stage, PreferenceStageConfig) else SftFeed
        feed = make(stage=stage, seed=plan.seed, sampler=sampler, renderer=ready.renderer, objective=objective)
    held_out = HeldOut(ready, plan, run, ledger, policy.parameters)
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
        evaluate=during_training(held_out, policy, samplers, progress.say),
    )
    if stopping.ended == "no_signal":
        note = f"stage {stage.name} ended early: {stage.stop.no_signal} steps in a row without signal (stop.no_signal)"
        run.note(note)
        progress.say(f"warning: {note}")
    if not policy.version:
        note = f"stage {stage.name} ended before its first step: the budget left nothing; its model is as it came"
        run.note(note)
        progress.say(f"warning: {note}")
    hand_on(ready, run, policy, ledger, metrics)


def hand_on(ready: Ready, run: RunFolder, policy: Policy, ledger: Ledger, metrics: MetricsFile) -> None:
    """The stage's folder: its model and the record that it is done, whole or not there (a collective)."""
    best = run.best(ready.stage.name)
    has_best = ready.stage.eval.keep_best and ranks.first(best.exists)
    record = {"goal": goal_of(ready.stage), "ledger": ledger.state_dict(), "metrics": metrics.size}

    def complete(folder: Path) -> None:
        if has_best:
            shutil.copytree(best, folder / "model")
        if isinstance(ready.stage, PolicyStageConfig):
            chat_template.write(folder / "model", ready.renderer, ready.stage)
        (folder / "stage.json").write_text(json.dumps(record), encoding="utf-8")

    with checkpoint.shared_folder(run.stage_folder(ready.stage.name)) as folder:
        if not has_best:
            policy.save(folder / "model")
        ranks.first(complete, folder)
