"""The only training loop: what is learned from a step's groups. How the groups come about stands in `r1lab.feed`.

    data -> sampler -> feed (plan, generate, verify, reward, settle)
         -> journal -> advantage -> scale -> packing -> update -> record

A step is one block of groups, an update one optimizer step. The rollout table is the journal: a step's block is on disk
before anything is scored, so a run killed anywhere reads it back and goes on bit for bit. With `max_staleness: 1` the
next step's block is sampled meanwhile, until the quiet point: then it is on disk too, and weights go over, evaluations
and checkpoints are made while nothing samples. SFT and RL differ in their feed and their objective, nowhere here.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from functools import partial

from r1lab.distributed import exchange, ranks
from r1lab.engines.protocol import Engine
from r1lab.engines.sync import publish
from r1lab.errors import Stopped
from r1lab.objective import Objective
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.policy.policy import Policy
from r1lab.recipe import LearningStageConfig
from r1lab.records import Sample, Settled, Update
from r1lab.rollout.buffer import RolloutBuffer
from r1lab.rollout.protocol import FeedProtocol
from r1lab.run import checkpoint, journal
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile, num_sampled, rollout_metrics, staleness_metrics, update_metrics
from r1lab.run.progress import PhaseClock, Progress
from r1lab.run.record import record, seconds_of
from r1lab.run.signals import Grace
from r1lab.run.stopping import Stopping
from r1lab.timing import details
from r1lab_data import Problem

Evaluate = Callable[[int, Callable[[], AbstractContextManager]], dict]
"""From a step, and the context in which a process samples and verifies, to rows `eval/...`."""


def train(
    *,
    stage: LearningStageConfig,
    run: RunFolder,
    policy: Policy,
    feed: FeedProtocol,
    engine: Engine | None,
    objective: Objective,
    evaluate: Evaluate,
    ledger: Ledger,
    metrics: MetricsFile,
    stopping: Stopping,
    progress: Progress,
    problem_of: Callable[[str], Problem],
) -> None:
    """Run a stage from where it stands to its end; every step ends in one row of metrics. `engine` is the one that
    samples, None where nothing does; `problem_of(id)` finds a journal's problems again."""
    buffer = RolloutBuffer(stage, run, feed, policy.prompt_text, problem_of, lambda: policy.version)
    clock, grace = PhaseClock(progress), Grace(ranks.any_of, progress.stopping)
    course = StageCourse(stage, run, policy, objective, evaluate, ledger, metrics, stopping, buffer, grace)
    step = course.resume()
    publish(engine, policy)
    with grace, closing(buffer):  # Ctrl-C, SIGTERM: the step is finished and saved first
        if metrics.unfinished or (step == 0 and stage.eval.sets and stage.eval.at_start):
            row, _ = course.end_step(step, metrics.unfinished, evaluates=True)
            record(run, metrics, progress, stage, step, row | ledger.row())
            grace.leave_if_heard(f"before step {step + 1} of stage {stage.name}")
        num_prompts = stopping.num_prompts(step + 1, ledger)
        while num_prompts:
            step, before = step + 1, (ledger.budget, ledger.training_flops)
            clock.start("rollout", step)  # a number of prompts -> the step's block, list[Settled], on disk
            block = buffer.take(step, num_prompts)
            feed.observe(block)  # sampler and error window learn from it
            paid = buffer.unpaid(step, block)
            ledger.rollouts(paid, policy.parameters, feed.judging(paid))
            clock.start("score")  # kept groups -> list[Sample] for each update: final advantages, scales, old, ref
            batches = split_into_updates(block, objective, stage)
            course.start_next(step, num_prompts, batches, before[0])  # sampled meanwhile
            batches = prepare_updates(batches, step, objective, policy, stage, ledger)
            clock.start("record")  # what the rollouts became, for people
            ranks.first(journal.write_samples, run.samples(stage.name, step), batches)
            clock.start("update")  # list[Sample] -> one optimizer step and one Update each
            updates = learn(batches, policy, objective, stage, ledger)
            finish_updates(updates, policy, objective, step)
            clock.start("quiet")  # the next block is on disk, and nothing samples
            buffer.quiet()
            clock.start("sync")  # the new weights -> what samples
            publish(engine, policy)
            clock.start("evaluate")  # held-out sets where they are due -> keys `eval/<set>/...` of the step's row
            stopping.spent(num_prompts, ledger.budget - before[0], ledger.training_flops - before[1])
            row = ranks.first(step_metrics, block, batches, updates, buffer.began, objective, stage)
            stopping.learned(row)
            row, num_prompts = course.end_step(step, row, evaluates=is_due(stage, step))
            row |= ledger.row() | times(clock.lap(), block, stage, ledger.budget - before[0], policy, feed)
            record(run, metrics, progress, stage, step, row)
            progress.samples(block, step, stage.print_samples)
            if grace.heard() or not num_prompts or step % stage.checkpoint_every == 0:
                course.save(step)
            grace.leave(f"after step {step} of stage {stage.name}")


def split_into_updates(
    block: Sequence[Settled], objective: Objective, stage: LearningStageConfig
) -> list[list[Sample]]:
    """The block's kept groups in draw order as `updates_per_step` batches of samples, and one more of the groups that
    the rule learns alone, where some are due; a batch may be empty."""
    kept = [settled.kept for settled in block if settled.kept is not None]
    k = stage.updates_per_step
    parts = [kept[len(kept) * part // k : len(kept) * (part + 1) // k] for part in range(k)]
    parts += [alone] if (alone := list(objective.rule.alone())) else []
    return [[sample for group in groups for sample in samples_of_group(objective, group)] for groups in parts]


def prepare_updates(
    batches: list[list[Sample]],
    step: int,
    objective: Objective,
    policy: Policy,
    stage: LearningStageConfig,
    ledger: Ledger,
) -> list[list[Sample]]:
    """A step's samples, one list an update, with final advantages, scales and the scores that their terms read.

    A sample whose gradient is identically zero is left out of the forward pass; it stays in the denominator. It is not
    scored either, unless advantages or masks wait for the scores.
    """
    if objective.waits:  # KL in the reward, GAE or batch masks read scores, also of samples that are left out later
        scored = [with_scores(samples, objective, policy, stage, ledger) for samples in batches]
        return prepared_updates(objective, scored, step)
    prepared = prepared_updates(objective, batches, step)
    # Each rank gets the ids of what it learns from, which it needs for scoring too.
    return [with_scores(exchange.delivered(samples), objective, policy, stage, ledger) for samples in prepared]


def with_scores(
    samples: list[Sample], objective: Objective, policy: Policy, stage: LearningStageConfig, ledger: Ledger
) -> list[Sample]:
    """Old and reference log-probabilities, entropies and values on the samples, where something needs them before the
    update."""
    num_updates = stage.updates_per_step * stage.reuse
    needs = objective.needs
    # The ratio is to the weights that sampled the block, by the engine's word or the policy's own (`recompute`). With
    # one update a block the latter is 1, and old is computed only where a term needs it.
    by_engine = stage.old_logprobs == "engine"
    needs_old = not by_engine and (num_updates > 1 or "old" in needs)
    needs_policy = needs_old or needs & {"entropy", "values"}
    forwarded = [sample for sample in samples if not sample.left_out]
    tokens = sum(len(s.rollout.request.prompt_ids) + len(s.rollout.completion_ids) for s in forwarded)
    ledger.scored(tokens * bool(needs_policy), policy.parameters)
    ledger.scored(tokens * ("ref" in needs), policy.reference_parameters)
    policy_scores = iter(policy.scores(forwarded, entropy="entropy" in needs)) if needs_policy else None
    ref_logprobs = iter(policy.score(forwarded, reference=True)) if "ref" in needs else None
    done = []
    for sample in samples:
        if not sample.left_out:
            old, entropy, values = next(policy_scores) if policy_scores else (None, None, None)
            old = sample.rollout.engine_logprobs if by_engine else old if needs_old else None
            ref = next(ref_logprobs) if ref_logprobs else None
            sample = replace(sample, old=old, entropy=entropy, values=values, ref=ref)
        done.append(sample)
    return done


def learn(
    batches: list[list[Sample]], policy: Policy, objective: Objective, stage: LearningStageConfig, ledger: Ledger
) -> list[Update]:
    """`reuse` optimizer steps of each batch, always, also where a batch carries nothing."""
    updates = []
    for _ in range(stage.reuse):
        for batch in batches:
            update = policy.update(batch, objective)
            ledger.update(batch, update.forwarded_tokens, policy.parameters)
            updates.append(update)
    return updates


def finish_updates(updates: list[Update], policy: Policy, objective: Objective, step: int) -> None:
    """What changes between steps: the objective by what it sees, the reference every `kl.ref_refresh_steps` steps."""
    objective.observe(ranks.first(objective.mean_entropy, [update.rows for update in updates if update.rows]))
    every = objective.kl.ref_refresh_steps
    if policy.reference is not None and every and step % every == 0:
        policy.refresh_reference()


def step_metrics(
    block: list[Settled],
    batches: list[list[Sample]],
    updates: list[Update],
    began: int,
    objective: Objective,
    stage: LearningStageConfig,
) -> dict:
    """What a step that began with version `began` sampled and learned."""
    samples = [sample for batch in batches for sample in batch]
    row = rollout_metrics(block) | update_metrics(updates, samples, objective.clip, objective.clips_sequences)
    return row | (staleness_metrics(block, updates, began) if stage.max_staleness else {})


def times(
    seconds: dict[str, float],
    block: list[Settled],
    stage: LearningStageConfig,
    tokens: int,
    policy: Policy,
    feed: FeedProtocol,
) -> dict:
    """Keys `time/...` of a step of so many budget tokens, of the seconds of its phases."""
    more = details(seconds, policy.watch, feed.watch, peak=policy.matmul_rate())
    return seconds_of(seconds, block, stage, tokens) | more


def is_due(stage: LearningStageConfig, step: int) -> bool:
    """Every `eval.every` steps; the stage's end is evaluated always."""
    return bool(stage.eval.every) and step % stage.eval.every == 0


@dataclass(frozen=True)
class StageCourse:
    """What stands between a stage's steps: where it goes on, evaluations, checkpoints, how large the next step is."""

    stage: LearningStageConfig
    run: RunFolder
    policy: Policy
    objective: Objective
    evaluate: Evaluate
    ledger: Ledger
    metrics: MetricsFile
    stopping: Stopping
    buffer: RolloutBuffer
    grace: Grace

    @property
    def resumables(self) -> dict:
        """Everything that a checkpoint holds, by name; `checkpoint` knows no names."""
        parts = {"policy": self.policy, "objective": self.objective, "feed": self.buffer.feed, "ledger": self.ledger,
                 "stopping": self.stopping, "metrics": self.metrics}  # fmt: skip
        return parts | ({"buffer": self.buffer} if self.stage.max_staleness else {})

    def resume(self) -> int:
        """The step the stage goes on from: its newest whole checkpoint's, or 0."""
        found = checkpoint.latest(self.run.checkpoints, self.stage.name)
        if found is None:
            return 0
        step, folder = found
        checkpoint.load(folder, self.resumables)
        self.policy.restore(folder)
        self.run.resumed(self.stage.name, step)
        return step

    def save(self, step: int) -> None:
        """A whole checkpoint, then the older ones go."""
        folder = self.run.checkpoints / f"{self.stage.name}-{step}"
        checkpoint.save(folder, self.resumables, self.policy.save_beside)
        checkpoint.prune(self.run.checkpoints, self.stage.name, self.stage.keep_last)

    def start_next(self, step: int, num_prompts: int, batches: list[list[Sample]], budget_before: int) -> None:
        """Begin to sample the block of the step after this one, with the weights that this step begins with, where it
        may be so old. It is as large as the end of this step will have it: what the updates cost of the budget is
        known."""
        if self.stage.max_staleness:
            samples = [sample for batch in batches for sample in batch]
            later = self.ledger.after_updates(samples, self.stage.reuse)
            self.stopping.spent(num_prompts, later.budget - budget_before, 0)
            self.buffer.start(step + 1, self.stopping.num_prompts(step + 1, later))

    def end_step(self, step: int, row: dict, *, evaluates: bool) -> tuple[dict, int]:
        """The step's row with its evaluation, which the stage's last step has always, and the problems of the next
        step. What was sampled ahead of one that does not come is on the ledger all the same."""
        num_prompts = self.stopping.num_prompts(step + 1, self.ledger)
        if self.stage.eval.sets and (evaluates or not num_prompts):
            row = row | self._scores(step, row)
            num_prompts = 0 if self.stopping.ended else num_prompts
        if self.stage.max_staleness:
            unused = [] if num_prompts else self.buffer.unused(step + 1)
            self.ledger.rollouts(unused, self.policy.parameters, self.buffer.feed.judging(unused))
            row = row | {"rollout/unused_tokens": num_sampled(unused)}
        return row, num_prompts

    def _scores(self, step: int, row: dict) -> dict:
        """The evaluation's metrics; the best step's model is kept aside where the recipe asks for it.

        A signal ends it at once. The step's updates are saved then with its row, and who resumes begins with the
        evaluation."""
        place = f"in the evaluation after step {step} of stage {self.stage.name}"
        try:
            scores = self.evaluate(step, partial(self.grace.at_once, place))
        except Stopped:
            if step:
                self.metrics.unfinished = row
                self.save(step)
            raise
        if self.stopping.evaluated(step, scores):
            checkpoint.save_model(self.run.best(self.stage.name), self.policy.save)
        return scores
