"""A `reject` stage: samples of a model, the verified ones of which become a dataset. Trains nothing; not what is kept
(`r1lab.stages.reject_selection`) nor how the dataset looks (`r1lab.stages.reject_dataset`).

The rollout table is the journal, as in training: a step's completions are on disk before they are counted, and they are
always taken from there. So a stage killed anywhere reads what it has, samples the rest, and writes the same bytes.
"""

import json
from itertools import count

from r1lab import loop
from r1lab.distributed import ranks
from r1lab.errors import RunError
from r1lab.feed import Feed
from r1lab.policy.frozen import Sampled
from r1lab.rollout.verification import version_of
from r1lab.run import checkpoint
from r1lab.run import journal as tables
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile, rollout_metrics
from r1lab.run.progress import Clock, Progress
from r1lab.run.signals import Grace
from r1lab.run.stopping import Stopping, goal_of
from r1lab.stages import reject_dataset
from r1lab.stages.prepare import Ready
from r1lab.stages.reject_selection import Selection


def sample(
    each: Ready,
    *,
    run: RunFolder,
    policy: Sampled,
    feed: Feed,
    ledger: Ledger,
    metrics: MetricsFile,
    progress: Progress,
) -> Selection:
    """Go over the problems, or as far as steps and budget reach; every step ends in one row of metrics."""
    stage, problems = each.stage, each.problems
    stopping, selection = Stopping(stage, each.steps, each.longest_cost), Selection(stage.keep)
    left = stage.steps * stage.prompts_per_step if stage.steps else sum(map(len, each.sources.values()))
    if found := ranks.first(_journals, run, stage.name):
        run.resumed(stage.name, found)
    feed.publish(policy, policy.version)
    clock = Clock(progress)
    with Grace(ranks.any_of) as grace:
        for step in count(1):
            prompts = min(left, stopping.prompts(step, ledger))
            if not prompts:
                return selection
            before = (ledger.budget, ledger.training_flops)
            clock.start("rollout", step)
            journal = run.rollouts(stage.name, step)
            if not ranks.first(journal.exists):
                ranks.first(tables.write_block, journal, feed.block(prompts), (), policy.prompt_text)
            block = tables.read_block(journal, problems.__getitem__)
            clock.start("score")
            feed.observe(block)
            ledger.rollouts(block, policy.parameters)
            selection.add(block)
            spent = ledger.budget - before[0]
            if len(block) == prompts:  # a last smaller step of an earlier, smaller budget does not end this one
                stopping.spent(prompts, spent, ledger.training_flops - before[1])
            left -= len(block)
            row = rollout_metrics(block) | selection.metrics() | ledger.row()
            row |= loop.seconds_of(clock.lap(), block, stage, spent)
            loop.record(run, metrics, progress, stage, step, row)
            grace.heard()
            grace.leave(f"after step {step} of stage {stage.name}")


def _journals(run: RunFolder, stage: str) -> int:
    """Steps whose completions are on disk from an earlier start."""
    return next(step for step in count(0) if not run.rollouts(stage, step + 1).exists())


def hand_on(each: Ready, selection: Selection, *, run: RunFolder, model: str, ledger: Ledger, size: int) -> None:
    """The stage's folder: its dataset and the record that it is done, whole or not there. RunError for an empty one.

    `size` is that of the metrics file, `model` what sampled, for people.
    """
    stage = each.stage
    if not selection.sampled:
        raise RunError(
            f"stage {stage.name}: the budget left nothing to sample; raise stop.max_tokens or spend less before"
        )
    if not selection.rows:
        raise RunError(
            f"stage {stage.name}: {selection.why_empty()}; loosen it with another out=, sample more, or start from a "
            "better model"
        )
    versions = {key: version_of(resolved)["source"] for key, resolved in each.table.items()}
    shared = {"model": model, "recipe": run.manifest["hash"], "stage": stage.name}
    record = {"goal": goal_of(stage), "ledger": ledger.state_dict(), "metrics": size}
    with checkpoint.atomic_folder(run.stage_folder(stage.name)) as made:
        reject_dataset.write(made / "data", selection, versions=versions, **shared)
        (made / "stage.json").write_text(json.dumps(record), encoding="utf-8")
