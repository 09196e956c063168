"""Build the parts of a stage (sampler, verification, engine, feed) from its `Ready` and the plan. Not the order of
stages (`r1lab.pipeline`)."""

import os
from contextlib import ExitStack

from r1lab.engines import Engine, factory
from r1lab.evaluation.majority import Voting
from r1lab.feed import Feed
from r1lab.policy.frozen import FrozenModel
from r1lab.policy.policy import Policy
from r1lab.recipe import ReferenceConfig, SamplingStageConfig
from r1lab.recipe.load import Plan
from r1lab.rollout import environment, scorer_specs
from r1lab.rollout.episode import Episodes
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.scorers import Scorer, Scorers, made
from r1lab.rollout.verification import Verification
from r1lab.run.folder import RunFolder
from r1lab.run.progress import Progress
from r1lab.seeds import derive
from r1lab.stages.check import curriculum_of, train_verifier
from r1lab.stages.prepare import Ready


def start(ready: Ready, run: RunFolder) -> str:
    """Where the stage's first weights are."""
    return ready.location or str(run.stage_folder(ready.stage.from_ or "") / "model")


def schedule_steps(ready: Ready, run: RunFolder) -> int:
    """Steps that the stage's schedules run over, as its first start pinned them."""
    name = ready.stage.name
    if ready.stage.steps is None and ready.steps and run.pinned[name]["schedule_steps"] is None:
        run.pin(name, "schedule_steps", ready.steps)  # known since an earlier stage made its data
    return run.pinned[name]["schedule_steps"] or 0


def reference(ready: Ready, run: RunFolder) -> str | None:
    """Where the stage's reference is; None where it is the model that the stage begins with."""
    named = getattr(ready.stage, "reference", None)
    if isinstance(named, ReferenceConfig):
        return str(run.stage_folder(named.stage) / "model")
    return ready.reference


def sampler(ready: Ready, plan: Plan) -> Sampler:
    weights = [source.weight for source in ready.stage.data.values()]
    return Sampler(ready.sources, weights, derive(plan.seed, "sampler"), curriculum_of(ready.stage))


def verification(ready: Ready, plan: Plan, stack: ExitStack) -> Verification:
    table = {**ready.table, **(Voting(ready.table).table if ready.sets else {})}
    uses = {name: reward.uses for name, reward in ready.rewards.items()}
    control, paths = train_verifier(ready.stage), (str(plan.base), os.getcwd())
    pool = control.verification(ready.sources, plan.seed, table, uses, ready.stage.workers, paths)
    stack.callback(pool.close)
    return pool


def engine(ready: Ready, run: RunFolder, policy: Policy | FrozenModel, progress: Progress, stack: ExitStack) -> Engine:
    """The engine pinned at the first start. RecipeError where it cannot run here, or not such a model."""
    pinned = run.pinned[ready.stage.name]
    config, text_of = ready.stage.engine, ready.renderer.verifier_text
    opened = factory.open_engine(pinned["engine"], config, policy, text_of, progress.say)
    stack.callback(opened.close)
    if about := getattr(opened, "about", ""):
        run.note(about)
    return opened


def episodes(ready: Ready, plan: Plan, stack: ExitStack) -> Episodes | None:
    """What plays the episodes of the stage's data; None where no source has an environment."""
    found = environment.of_sources(ready.stage, ready.stage.data)
    paths = (str(plan.base), os.getcwd())
    opened = environment.opened(found, ready.problems, ready.renderer, ready.stage.workers, paths, plan.seed)
    if opened is not None:
        stack.callback(opened.host.close)
    return opened


def scorers(ready: Ready, run: RunFolder) -> Scorers | None:
    """The learned parts of the rewards with their models loaded; None where there are none."""
    if not ready.scorers:
        return None
    parts = {source: {name: scorer_specs.key_of(config) for name, config in reward.learned.items()}
             for source, reward in ready.rewards.items()}  # fmt: skip
    return Scorers({key: scorer(ready, run, key) for key in ready.scorers if key != scorer_specs.JUDGE}, parts)


def scorer(ready: Ready, run: RunFolder, key: str) -> Scorer:
    """One scorer of a stage, its model loaded."""
    spec = ready.scorers[key]
    return made(spec, scorer_specs.place_of(spec, lambda name: run.stage_folder(name) / "model", start(ready, run)))


def feed(
    ready: Ready, plan: Plan, run: RunFolder, engine: Engine, verification: Verification, stack: ExitStack
) -> Feed:
    assert isinstance(ready.stage, SamplingStageConfig)  # these kinds sample
    names = ("stage", "problems", "renderer", "rewards", "objective")
    parts = {"sampler": sampler(ready, plan), "engine": engine, "verification": verification}
    parts["scorers"] = scorers(ready, run)
    parts["episodes"] = episodes(ready, plan, stack)
    return Feed(seed=plan.seed, **parts, **{name: getattr(ready, name) for name in names})
