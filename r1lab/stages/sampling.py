"""A `reject` or `judge` stage: sample a model, and make a dataset of the completions. Trains nothing; not what is kept
(`r1lab.stages.selection`) nor how the dataset looks (`r1lab.stages.dataset`).

The rollout table is the journal, as in training: a step's completions are on disk before they are counted, and they are
always taken from there. So a stage killed anywhere reads what it has, samples the rest, and writes the same bytes.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

from r1lab.distributed import ranks
from r1lab.engines.sync import publish
from r1lab.errors import RunError
from r1lab.feed import Feed
from r1lab.hub import model_card
from r1lab.policy import models
from r1lab.policy.frozen import FrozenModel
from r1lab.recipe import DatasetStageConfig, JudgeStageConfig, RejectStageConfig
from r1lab.recipe.load import Plan
from r1lab.recipe.reject import KeepConfig
from r1lab.records import Draw, Scored
from r1lab.rollout import scorer_specs
from r1lab.rollout.judges import Judge
from r1lab.rollout.verification import version_of, warnings
from r1lab.run import files, journal
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile, rollout_metrics
from r1lab.run.progress import PhaseClock, Progress
from r1lab.run.record import record, seconds_of
from r1lab.run.signals import Grace
from r1lab.run.stopping import Stopping, goal_of
from r1lab.seeds import derive
from r1lab.stages import build, dataset
from r1lab.stages.prepare import Ready
from r1lab.stages.revise import Questions, Revise, drawn, revised, revisions
from r1lab.stages.selection import JudgedPairs, RatedProblems, RevisedPairs, Selection, VerifiedPairs, VerifiedSolutions
from r1lab_data.overlap import prompt_text


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build the stage's parts, sample, hand on its dataset."""
    stage = ready.stage
    assert isinstance(stage, RejectStageConfig | JudgeStageConfig)  # the pipeline calls by kind
    policy = FrozenModel(build.start(ready, run), stage.precision, stage.temperature or 1.0)
    models.stops_at(policy.model, policy.tokenizer, ready.renderer.turn_end)
    engine = build.engine(ready, run, policy, progress, stack)
    revising = replace(ready.objective, rule=revise_of(ready, plan.seed)) if "critique" in ready.texts else None
    if revising is not None:
        ready = replace(ready, objective=revising)
    feed = build.feed(ready, plan, run, engine, build.verification(ready, plan, stack), stack)
    publish(engine, policy)
    progress.stage(stage.name, ready.steps, stage.stop.max_tokens)
    progress.warnings = warnings(ready.table)
    selection = selection_of(ready, run, plan.seed, ledger)
    sample(ready, selection, run=run, policy=policy, feed=feed, ledger=ledger, metrics=metrics, progress=progress)
    model = f"the model of stage {stage.from_}" if stage.from_ else model_card.clean(stage.model, "model", plan)
    ranks.first(hand_on, ready, selection, run=run, model=model, ledger=ledger, size=metrics.size)


def revise_of(ready: Ready, seed: int) -> Revise:
    texts = ready.texts
    questions = Questions(texts["critique"], texts["revision"], scorer_specs.lines_of(texts))
    return Revise(questions, ready.renderer, derive(seed, f"train/{ready.stage.name}"))


def selection_of(ready: Ready, run: RunFolder, seed: int, ledger: Ledger) -> Selection:
    """What the stage keeps; what a judge reads for it goes to the ledger."""
    stage = ready.stage
    if isinstance(stage, JudgeStageConfig):
        return JudgedPairs(KeepConfig(), preferences=_preferences(ready, run, seed, ledger))
    assert isinstance(stage, RejectStageConfig)  # the other kind that samples a dataset
    if stage.revise is not None:
        is_pairs = stage.write == "pairs"
        return RevisedPairs(stage.keep, sources=revised) if is_pairs else VerifiedSolutions(stage.keep, revisions)
    kinds = {"solutions": VerifiedSolutions, "problems": RatedProblems, "pairs": VerifiedPairs}
    return kinds[stage.write](stage.keep)


def _preferences(
    ready: Ready, run: RunFolder, seed: int, ledger: Ledger
) -> Callable[[Draw, Scored, Scored], tuple[float, float, str] | None]:
    """What the stage's judge says of two completions."""
    judge, principles = build.scorer(ready, run, scorer_specs.JUDGE), scorer_specs.lines_of(ready.texts)
    assert isinstance(judge, Judge)  # the stage's check made it one
    own_seed = derive(seed, f"train/{ready.stage.name}")

    def preferences(draw: Draw, first: Scored, second: Scored) -> tuple[float, float, str] | None:
        principle = drawn(principles, own_seed, draw.number * draw.group_size + first.rollout.request.id.index)
        texts = {"first": first.rollout.text, "second": second.rollout.text}
        parts = {"prompt": prompt_text(draw.problem), "principle": principle, **texts}
        said = judge.preferences(**parts)
        ledger.judged(*judge.judging(**parts))  # after it: a server counts what it has read
        return None if said is None else (*said, principle)

    return preferences


def sample(
    ready: Ready,
    selection: Selection,
    *,
    run: RunFolder,
    policy: FrozenModel,
    feed: Feed,
    ledger: Ledger,
    metrics: MetricsFile,
    progress: Progress,
) -> None:
    """Add to the selection by going over the problems, or as far as steps and budget reach; every step ends in one row
    of metrics."""
    stage, problems = ready.stage, ready.problems
    assert isinstance(stage, DatasetStageConfig)  # the pipeline calls by kind
    stopping = Stopping(stage, ready.steps, ready.longest_cost)
    left = stage.steps * stage.prompts_per_step if stage.steps else sum(map(len, ready.sources.values()))
    if found := ranks.first(_journals, run, stage.name):
        run.resumed(stage.name, found)
    clock = PhaseClock(progress)
    with Grace(ranks.any_of, progress.stopping) as grace:
        for step in count(1):
            prompts = min(left, stopping.num_prompts(step, ledger))
            if not prompts:
                return
            before = (ledger.budget, ledger.training_flops)
            clock.start("rollout", step)
            table = run.rollouts(stage.name, step)
            if not ranks.first(table.exists):
                ranks.first(journal.write_block, table, feed.block(prompts), policy.prompt_text)
            block = journal.read_block(table, problems.__getitem__)
            clock.start("score")
            feed.observe(block)
            ledger.rollouts(block, policy.parameters)
            selection.add(block)
            spent = ledger.budget - before[0]
            if len(block) == prompts:  # a last smaller step of an earlier, smaller budget does not end this one
                stopping.spent(prompts, spent, ledger.training_flops - before[1])
            left -= len(block)
            row = rollout_metrics(block) | selection.metrics() | ledger.row()
            row |= seconds_of(clock.lap(), block, stage, spent)
            record(run, metrics, progress, stage, step, row)
            progress.samples(block, step, stage.print_samples)
            grace.leave_if_heard(f"after step {step} of stage {stage.name}")


def _journals(run: RunFolder, stage: str) -> int:
    """Steps whose completions are on disk from an earlier start."""
    return next(step for step in count(0) if not run.rollouts(stage, step + 1).exists())


def hand_on(ready: Ready, selection: Selection, *, run: RunFolder, model: str, ledger: Ledger, size: int) -> None:
    """The stage's folder: its dataset and the record that it is done, whole or not there. RunError for an empty one.

    `size` is that of the metrics file, `model` what sampled, for people.
    """
    stage = ready.stage
    if not selection.sampled:
        raise RunError(
            f"stage {stage.name}: the budget left nothing to sample; raise stop.max_tokens or spend less before"
        )
    if not selection.rows:
        raise RunError(f"stage {stage.name}: {selection.why_empty()}; {selection.remedy}")
    versions = {key: version_of(resolved)["source"] for key, resolved in ready.table.items()}
    shared = {"model": model, "recipe": run.manifest["hash"], "stage": stage.name}
    record = {"goal": goal_of(stage), "ledger": ledger.state_dict(), "metrics": size}
    with files.atomic_folder(run.stage_folder(stage.name)) as made:
        dataset.write(made / "data", selection, versions=versions, **shared)
        (made / "stage.json").write_text(json.dumps(record), encoding="utf-8")
