"""A `reward_model` stage: train a scalar head on labelled completions with the one loop, hand on the classifier. What a
step does stands in `r1lab.loop`."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from r1lab import loop
from r1lab.distributed import ranks
from r1lab.evaluation import labelled_sets
from r1lab.evaluation.folder import write_rows
from r1lab.policy.reward_model import RewardModel
from r1lab.recipe import RewardModelStageConfig
from r1lab.recipe.load import Plan
from r1lab.records import Sampling
from r1lab.rollout.labelled import LabelledFeed
from r1lab.rollout.requests import RequestMaker
from r1lab.run.folder import COMPLETIONS, RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import Stopping
from r1lab.stages import build
from r1lab.stages.prepare import Ready
from r1lab.stages.train import hand_on


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Build the reward model and its feed, run the loop, hand on the folder."""
    stage = ready.stage
    assert isinstance(stage, RewardModelStageConfig)  # the pipeline calls by kind
    schedule = build.schedule_steps(ready, run)
    model = RewardModel(
        build.start(ready, run), stage, total_updates=schedule, turn_end=ready.renderer.turn_end, seed=plan.seed
    )
    for note in model.notes:
        run.note(note)
        progress.say(f"warning: {note}")
    sampler = build.sampler(ready, plan)
    parts = {"renderer": ready.renderer, "objective": ready.objective}
    progress.stage(stage.name, ready.steps, stage.stop.max_tokens)
    progress.warnings = []
    loop.train(
        stage=stage,
        run=run,
        policy=model,
        feed=LabelledFeed(stage=stage, seed=plan.seed, sampler=sampler, **parts),
        engine=None,
        objective=ready.objective,
        ledger=ledger,
        metrics=metrics,
        stopping=Stopping(stage, ready.steps, ready.longest_cost),
        progress=progress,
        problem_of=ready.problems.__getitem__,
        evaluate=_evaluation(ready, plan.seed, run, model, ledger),
    )
    hand_on(ready, run, model, ledger, metrics)


def _evaluation(
    ready: Ready, seed: int, run: RunFolder, model: RewardModel, ledger: Ledger
) -> Callable[[int, Callable[[], AbstractContextManager]], dict]:
    """evaluate(step, own_work) over the stage's sets; each leaves a table of its decisions. All ranks score together,
    so no signal may end it for one of them alone."""

    def of_step(step: int, _: Callable[[], AbstractContextManager]) -> dict:
        row = {}
        for eval_set in ready.sets:
            maker = RequestMaker(ready.renderer, f"eval/{eval_set.name}", seed, Sampling())
            judged = labelled_sets.judge(eval_set, maker, model.score)
            ledger.evaluated(judged.num_prompt_tokens, judged.num_completion_tokens, model.parameters)
            rows = labelled_sets.rows_of(judged, model.prompt_text)
            out = run.evaluation(ready.stage.name, step, eval_set.name)
            ranks.first(write_rows, out / COMPLETIONS, rows, "")
            row |= labelled_sets.summary(eval_set.name, judged, seed)
        return row

    return of_step
