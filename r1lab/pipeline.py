"""Run a plan's stages in order, each resumable, each from the model of an earlier one. Not what a step does
(`r1lab.loop`)."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PretrainedConfig

from r1lab.distributed import ranks
from r1lab.doctor import busy
from r1lab.engines import factory
from r1lab.errors import RecipeError
from r1lab.health.monitor import diagnose
from r1lab.hub import model_card
from r1lab.policy import models
from r1lab.recipe import AnyStageConfig, TrainStageConfig
from r1lab.recipe.eval import EvalStageConfig
from r1lab.recipe.load import Plan, makes_policy
from r1lab.rollout import environment
from r1lab.rollout.verification import version_of
from r1lab.run import checkpoint, files
from r1lab.run.folder import RunFolder, admit, folder, open_run
from r1lab.run.ledger import Ledger
from r1lab.run.manifest import identity, num_threads
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.rewind import rewind
from r1lab.run.trackers import Trackers
from r1lab.stages import costs, eval, reward_model, sampling, standing
from r1lab.stages import train as train_stage
from r1lab.stages.check import Checked
from r1lab.stages.prepare import Ready, filled, prepare


@dataclass(frozen=True)
class Run:
    """What a finished run left behind."""

    path: Path
    model: Path | None
    """Hugging Face folder; None where no stage trains."""
    metrics: list[dict]
    """Rows of metrics.jsonl."""


RUNNERS = {
    "sft": train_stage.run_stage,
    "rl": train_stage.run_stage,
    "preference": train_stage.run_stage,
    "reward_model": reward_model.run_stage,
    "reject": sampling.run_stage,
    "judge": sampling.run_stage,
    "eval": ranks.by_first(eval.run_stage),
}
"""What runs a stage, by its kind."""


def train(
    plan: Plan,
    progress: Progress | None = None,
    checked: Sequence[Checked] | None = None,
    *,
    on_step: Callable[[dict], object] | None = None,
    from_checkpoint: str = "",
) -> Run:
    """Run a plan to its end, from where its folder stands. RecipeError before anything is written, later RunError.

    `checked` is what `r1lab.stages.check.early` made of the plan, where that was asked for. `on_step(row)` is called
    with each row of metrics once it is on disk; what it raises ends the run, which then goes on from there.
    `from_checkpoint` is a step, or `<stage>-<step>`, that the run goes back to.
    Where a launcher started several processes they run it together; all of them have the same rows in the end.
    """
    with ranks.session():
        spoken = progress if progress and ranks.is_first() else Progress(quiet=not ranks.is_first())
        try:
            return _train(plan, spoken, checked, on_step, from_checkpoint)
        finally:
            spoken.close()  # also where it failed: a bar that stays hides the cursor


def _train(
    plan: Plan,
    progress: Progress,
    checked: Sequence[Checked] | None,
    on_step: Callable[[dict], object] | None,
    from_checkpoint: str,
) -> Run:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product: equal sums run after run
    ready = ranks.together(lambda: prepare(plan, checked))
    digests = {key: value for each in ready for key, value in each.digests.items()}
    versions = {key: version_of(resolved) for each in ready for key, resolved in each.table.items()}
    versions |= {key: each for stage in plan.stages for key, each in environment.versions(stage).items()}
    needed = costs.disk(ready)
    own = identity(plan, digests)
    if from_checkpoint:
        progress.say(ranks.first(_rewound, folder(plan, own), own, from_checkpoint))
    stands = ranks.first(standing.look, ready, folder(plan, own), own)
    with open_run(plan, digests, verifier_versions=versions, extra=_pinned(ready), needed_bytes=needed) as run:
        for warning in run.warnings:
            progress.say(f"warning: {warning}")
        for note in (note for each in ready for note in each.notes):
            run.note(note)
            progress.say(f"warning: {note}")
        if run.finished:
            progress.say(f"{run.path} is finished; raise steps to go on, or set another out=")
        else:
            resumed = f"resuming {run.path} {stands.where}"
            progress.say(resumed if stands.state == "resumed" else f"writing to {run.path}")
            for line in dict.fromkeys(_engine_line(run.pinned[stage.name]) for stage in plan.stages):
                progress.say(line)
            line = busy.warning(max(map(num_threads, plan.stages)), "threads=1")
            if line and not torch.cuda.is_available():
                progress.say(f"warning: {line}")
            _stages(ready, plan, run, progress, on_step)
        rows = [json.loads(line) for line in ranks.first(run.metrics.read_text, encoding="utf-8").splitlines()]
    progress.close()
    for health in diagnose(rows, {stage.name: stage.health.off for stage in plan.stages}):
        for alarm in health.lasting():
            progress.say(f"warning: {run.path}: {alarm.line()}")
    return Run(run.path, run.model if _trained(ready) else None, rows)


def _engine_line(pinned: Mapping) -> str:
    return f"engine: {pinned['engine']} ({pinned.get('engine_reason', 'as at the first start')})"


def _trained(ready: list[Ready]) -> list[Ready]:
    """The stages that make a model."""
    return [each for each in ready if isinstance(each.stage, TrainStageConfig)]


def _pinned(ready: list[Ready]) -> dict:
    """What defaults resolve to at the first start and then stays."""
    pinned, configs = {}, {}
    for ready_stage in ready:
        stage, location = ready_stage.stage, ready_stage.location
        configs[stage.name] = models.load_config(location) if location else configs[stage.from_]
        taken = _engine_choice(stage, configs[stage.name])
        schedule = (
            {"schedule_steps": stage.schedule_steps or ready_stage.steps} if isinstance(stage, TrainStageConfig) else {}
        )
        pinned[stage.name] = {
            **schedule,
            "engine": taken.name,
            "engine_reason": taken.why,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
    return pinned


def _engine_choice(stage: AnyStageConfig, config: PretrainedConfig) -> factory.EngineChoice:
    """What samples in a stage. RecipeError for vLLM in an evaluation by several processes: the first one evaluates
    alone, and there the start of vLLM waits for all."""
    taken = factory.choose(stage.engine.kind, config, getattr(stage, "lora", None))
    if taken.name != "vllm" or not isinstance(stage, EvalStageConfig) or ranks.size() == 1:
        return taken
    if stage.engine.kind == "auto":
        return factory.EngineChoice("local", "one of several processes evaluates alone, which vLLM cannot")
    raise RecipeError(
        f"stage {stage.name}: engine.kind: vllm evaluates in a run of one process, and {ranks.size()} were started; "
        "take local here, or leave the stage out and use r1lab eval"
    )


def _rewound(path: Path, identity_now: dict, wanted: str) -> str:
    admit(path, identity_now)  # of this recipe
    return rewind(path, wanted)


def _stages(
    ready: list[Ready], plan: Plan, run: RunFolder, progress: Progress, on_step: Callable[[dict], object] | None
) -> None:
    wanted = {stage.name: stage.trackers for stage in plan.stages} if ranks.is_first() else {}
    with closing(Trackers(run, wanted, progress.say)) as trackers:

        def follow(row: dict) -> None:
            trackers.follow(row)
            if on_step is not None:
                on_step(dict(row))

        _all_stages(ready, plan, run, progress, MetricsFile(run.metrics, follow))
        trackers.catch_up()
    ranks.first(_last_model, _trained(ready), ready, plan, run)
    run.finish()


def _last_model(trained: list[Ready], ready: list[Ready], plan: Plan, run: RunFolder) -> None:
    """The card of every stage that trains, and the last policy as the run's model, where there is one."""
    for ready_stage in trained:
        chain = ready[: ready.index(ready_stage) + 1]
        model_card.write(run.stage_folder(ready_stage.stage.name) / "model", chain, plan, run)
    policies = [ready_stage for ready_stage in trained if makes_policy(ready_stage.stage)]
    if trained:
        with files.atomic_folder(run.model) as folder:
            name = (policies or trained)[-1].stage.name
            shutil.copytree(run.stage_folder(name) / "model", folder, dirs_exist_ok=True)


def _all_stages(ready: list[Ready], plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile) -> None:
    ledger, start = Ledger(), 0
    for number in range(len(ready)):
        ready_stage = ready[number] = filled(ready[number], run.stage_folder)
        name = ready_stage.stage.name
        ended = _ended(run, ready_stage)
        if ended is not None:
            ledger.load_state_dict(ended["ledger"])
            start = ended["metrics"]
            continue
        if checkpoint.latest(run.checkpoints, name) is None:
            metrics.truncate(start)
        with ExitStack() as stack:
            torch.set_num_threads(num_threads(ready_stage.stage))
            RUNNERS[ready_stage.stage.kind](ready_stage, plan, run, progress, metrics, ledger, stack)
        start = metrics.size
        if ready_stage is not ready[-1]:
            checkpoint.prune(run.checkpoints, name, keep=0)  # its end is fixed: the next stage starts from it


@ranks.by_first
def _ended(run: RunFolder, ready_stage: Ready) -> dict | None:
    """The record of a stage that is done, or None where it has to run, or to go on to another end."""
    folder = run.stage_folder(ready_stage.stage.name)
    if standing.is_done(run, ready_stage):
        return json.loads((folder / "stage.json").read_text(encoding="utf-8"))
    if (folder / "stage.json").exists():  # it goes on to another end
        shutil.rmtree(folder)
    return None
