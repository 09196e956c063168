"""What a stage is built of, out of its `Ready` and the plan. Not the order of things (`r1lab.pipeline`)."""

import os
from contextlib import ExitStack

from r1lab.engines import Engine
from r1lab.feed import Feed
from r1lab.recipe.load import Plan
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.verification import Judge
from r1lab.run.folder import RunFolder
from r1lab.seeds import derive
from r1lab.stages.prepare import Ready


def start(each: Ready, run: RunFolder) -> str:
    """Where the stage's first weights are."""
    return each.location or str(run.stage_folder(each.stage.from_) / "model")


def sampler(each: Ready, plan: Plan) -> Sampler:
    weights = [source.weight for source in each.stage.data.values()]
    return Sampler(each.sources, weights, derive(plan.seed, "sampler"))


def judge(each: Ready, plan: Plan, stack: ExitStack) -> Judge:
    judge = Judge(each.table, each.stage.workers, (str(plan.base), os.getcwd()))
    stack.callback(judge.close)
    return judge


def feed(each: Ready, plan: Plan, engine: Engine, judge: Judge) -> Feed:
    return Feed(
        stage=each.stage,
        seed=plan.seed,
        sampler=sampler(each, plan),
        problems=each.problems,
        renderer=each.renderer,
        engine=engine,
        judge=judge,
        reward=each.reward,
        second=each.second,
        objective=each.objective,
    )
