"""The only training loop: what is learned from a step's groups. How the groups come about stands in `r1lab.feed`.

    data -> sampler -> feed (plan, generate, verify, reward, settle)
         -> advantage -> scale -> journal -> packing -> update -> record

A step is one block of groups, an update one optimizer step. The rollout table is the journal: a step's block is on disk
before its first update, so a run killed anywhere reads it back and goes on bit for bit. SFT and RL differ in their feed
and their objective, nowhere here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from r1lab.distributed import ranks
from r1lab.objective import Objective
from r1lab.objective.samples import prepared_update, samples_of_group
from r1lab.policy.policy import Policy
from r1lab.recipe import TrainStageConfig
from r1lab.records import Sample, Settled, Update
from r1lab.run import checkpoint, journal
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile, rollout_metrics, update_metrics
from r1lab.run.progress import PhaseClock, Progress
from r1lab.run.record import record, times
from r1lab.run.signals import Grace
from r1lab.run.stopping import Stopping


def train(
    *,
    stage: TrainStageConfig,
    run: RunFolder,
    policy: Policy,
    feed,
    objective: Objective,
    evaluate: Callable[[int], dict],
    ledger: Ledger,
    metrics: MetricsFile,
    stopping: Stopping,
    progress: Progress,
    problem_of: Callable,
) -> None:
    """Run a stage from where it stands to its end; every step ends in one row of metrics. `evaluate(step)` returns
    those of the held-out sets; `problem_of(id)` finds a journal's problems again."""
    resumables = state_of(policy, objective, feed, ledger, stopping, metrics)
    step = resume(run, stage, policy, resumables)
    feed.publish(policy, policy.version)
    if step == 0 and stage.eval.sets and stage.eval.at_start:
        first = after_evaluation(0, evaluate, stopping, policy, run, stage)
        record(run, metrics, progress, stage, 0, first | ledger.row())

    clock = PhaseClock(progress)
    with Grace(ranks.any_of) as grace:
        while prompts := stopping.prompts(step + 1, ledger):
            step, before = step + 1, (ledger.budget, ledger.training_flops)

            clock.start("rollout", step)
            table = run.rollouts(stage.name, step)
            is_fresh = not ranks.first(table.exists)
            block = feed.block(prompts) if is_fresh else journal.read_block(table, problem_of)

            clock.start("score")
            batches = prepared(cut(block, objective, stage), step, objective, policy, stage, ledger)
            samples = [sample for batch in batches for sample in batch]
            clock.start("record")
            if is_fresh:
                ranks.first(journal.write_block, table, block, samples, policy.prompt_text)
            feed.observe(block)
            ledger.rollouts(block, policy.parameters)

            clock.start("update")
            updates = learn(batches, policy, objective, stage, ledger)
            step_on(updates, policy, objective, step)
            clock.start("sync")
            feed.publish(policy, policy.version)

            clock.start("evaluate")
            stopping.spent(prompts, ledger.budget - before[0], ledger.training_flops - before[1])
            row = rollout_metrics(block) | update_metrics(updates, samples, objective.clip, objective.clips_sequences)
            is_last = not stopping.prompts(step + 1, ledger)
            if stage.eval.sets and (is_last or is_due(stage, step)):
                row |= after_evaluation(step, evaluate, stopping, policy, run, stage)
                is_last = bool(is_last or stopping.ended)
            row |= ledger.row() | times(clock.lap(), block, stage, ledger.budget - before[0], policy, feed)
            record(run, metrics, progress, stage, step, row)
            if grace.heard() or is_last or step % stage.checkpoint_every == 0:
                save(run, stage, step, policy, resumables)
            grace.leave(f"after step {step} of stage {stage.name}")


def state_of(
    policy: Policy, objective: Objective, feed, ledger: Ledger, stopping: Stopping, metrics: MetricsFile
) -> dict:
    """Everything that a checkpoint holds, by name."""
    return {
        "policy": policy,
        "objective": objective,
        "feed": feed,
        "ledger": ledger,
        "stopping": stopping,
        "metrics": metrics,
    }


def resume(run: RunFolder, stage: TrainStageConfig, policy: Policy, resumables: dict) -> int:
    """The step the stage goes on from: its newest whole checkpoint's, or 0."""
    found = checkpoint.latest(run.checkpoints, stage.name)
    if found is None:
        return 0
    step, folder = found
    checkpoint.load(folder, resumables)
    policy.restore(folder)
    run.resumed(stage.name, step)
    return step


def save(run: RunFolder, stage: TrainStageConfig, step: int, policy: Policy, resumables: dict) -> None:
    """A whole checkpoint, then the older ones go."""
    folder, whole = run.checkpoints / f"{stage.name}-{step}", policy.whole()
    ranks.first(checkpoint.save, folder, {**resumables, "policy": whole}, whole.save)
    checkpoint.prune(run.checkpoints, stage.name, stage.keep_last)


def cut(block: Sequence[Settled], objective: Objective, stage: TrainStageConfig) -> list[list[Sample]]:
    """The block's kept groups in draw order as `updates_per_step` batches of samples; a batch may be empty."""
    kept = [settled.kept for settled in block if settled.kept is not None]
    k = stage.updates_per_step
    parts = [kept[len(kept) * part // k : len(kept) * (part + 1) // k] for part in range(k)]
    return [[sample for group in groups for sample in samples_of_group(objective, group)] for groups in parts]


def prepared(
    batches: list[list[Sample]],
    step: int,
    objective: Objective,
    policy: Policy,
    stage: TrainStageConfig,
    ledger: Ledger,
) -> list[list[Sample]]:
    """The batches with final advantages, scales and the scores that their terms read.

    A sample whose gradient is identically zero is left out of the forward pass; it stays in the denominator. It is not
    scored either, unless advantages or masks wait for the scores.
    """
    if objective.waits:
        return [
            prepared_update(objective, scored(samples, objective, policy, stage, ledger), step) for samples in batches
        ]
    return [scored(prepared_update(objective, samples, step), objective, policy, stage, ledger) for samples in batches]


def scored(
    samples: list[Sample], objective: Objective, policy: Policy, stage: TrainStageConfig, ledger: Ledger
) -> list[Sample]:
    """Old and reference log-probabilities, entropies and values on the samples, where something needs them before the
    update."""
    several = stage.updates_per_step * stage.reuse > 1
    needs = objective.needs
    own = stage.old_logprobs == "recompute" if several else "old" in needs
    measures = own or needs & {"entropy", "values"}
    forwarded = [sample for sample in samples if not sample.left_out]
    tokens = sum(len(s.rollout.request.prompt_ids) + len(s.rollout.completion_ids) for s in forwarded)
    ledger.scored(tokens * (bool(measures) + ("ref" in needs)), policy.parameters)
    current = iter(policy.scores(forwarded, entropy="entropy" in needs)) if measures else None
    ref = iter(policy.score(forwarded, reference=True)) if "ref" in needs else None
    done = []
    for sample in samples:
        if not sample.left_out:
            old, entropy, values = next(current) if current else (None, None, None)
            old = old if own else sample.rollout.engine_logprobs if several else None
            sample = replace(sample, old=old, entropy=entropy, values=values, ref=next(ref) if ref else None)
        done.append(sample)
    return done


def learn(
    batches: list[list[Sample]], policy: Policy, objective: Objective, stage: TrainStageConfig, ledger: Ledger
) -> list[Update]:
    """`updates_per_step` x `reuse` optimizer steps, always, also where a batch carries nothing."""
    updates = []
    for _ in range(stage.reuse):
        for batch in batches:
            update = policy.update(batch, objective)
            ledger.update(batch, update.forwarded_tokens, policy.parameters)
            updates.append(update)
    return updates


def step_on(updates: list[Update], policy: Policy, objective: Objective, step: int) -> None:
    """What changes between steps: the objective by what it sees, the reference every `kl.ref_refresh_steps` steps."""
    objective.observe([update.rows for update in updates if update.rows])
    every = objective.kl.ref_refresh_steps
    if policy.reference is not None and every and step % every == 0:
        policy.refresh_reference()


def is_due(stage: TrainStageConfig, step: int) -> bool:
    """Every `eval.every` steps; the stage's end is evaluated always."""
    return bool(stage.eval.every) and step % stage.eval.every == 0


def after_evaluation(
    step: int,
    evaluate: Callable[[int], dict],
    stopping: Stopping,
    policy: Policy,
    run: RunFolder,
    stage: TrainStageConfig,
) -> dict:
    """The evaluation's metrics; the best step's model is kept aside where the recipe asks for it."""
    row = evaluate(step)
    if stopping.evaluated(step, row):
        ranks.first(checkpoint.save_model, run.best(stage.name), policy.whole().save)
    return row
