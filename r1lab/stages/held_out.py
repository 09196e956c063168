"""Evaluate a stage's held-out sets, during training and in a stage of its own. How one set is evaluated, and resumed,
stands in `r1lab.evaluation.runner`."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from r1lab.distributed import ranks
from r1lab.engines import Engine
from r1lab.evaluation import runner
from r1lab.evaluation.folder import read_manifest
from r1lab.evaluation.model_completer import PolicyCompleter
from r1lab.evaluation.runner import Evaluation, EvaluationSpec
from r1lab.evaluation.scores import checked_ks, summary
from r1lab.policy.policy import Policy
from r1lab.recipe.load import Plan
from r1lab.records import EvaluationSet
from r1lab.rollout import environment
from r1lab.rollout.requests import evaluation_sampling
from r1lab.rollout.verification import Verification
from r1lab.run.folder import MANIFEST, RunFolder
from r1lab.run.ledger import Ledger
from r1lab.stages.prepare import Ready

Samplers = tuple[Engine, Verification]
OwnWork = Callable[[], AbstractContextManager]
"""The context in which a process samples and verifies."""


class HeldOut:
    """A stage's sets as they are evaluated each time, and what that costs."""

    def __init__(self, ready: Ready, plan: Plan, run: RunFolder, ledger: Ledger, parameters: int):
        """`parameters` of the model decide the FLOPs."""
        self.ready, self.run, self.ledger, self.parameters = ready, run, ledger, parameters
        self.import_paths = (str(plan.base), os.getcwd())
        self.specs = [self._spec(eval_set, plan) for eval_set in ready.sets]
        render, n = ready.renderer.render, ready.stage.eval.n
        self.prompt_tokens = [sum(len(render(each)) for each in spec.eval_set.problems) * n for spec in self.specs]

    def _spec(self, eval_set: EvaluationSet, plan: Plan) -> EvaluationSpec:
        stage, knobs = self.ready.stage, self.ready.stage.eval
        asking = (eval_set, knobs.n, plan.seed, evaluation_sampling(stage))
        table = {problem.verifier: self.ready.table[problem.verifier] for problem in eval_set.problems}
        note, prompt = {"run": self.run.manifest["hash"], "stage": stage.name}, stage.prompt.model_dump(mode="json")
        return EvaluationSpec(*asking, table, checked_ks((), knobs.n), prompt, stage.workers, note, plan.base)

    def worlds(self, eval_set: str) -> environment.Worlds | None:
        """What answers the model's turns on a set; None where a completion is one turn."""
        stage = self.ready.stage
        return environment.worlds_of(stage, eval_set, stage.eval.sets[eval_set], stage.workers, self.import_paths)

    def metrics(self, evaluated: Callable[[EvaluationSpec], Evaluation]) -> dict:
        """Evaluate every set: keys `eval/<set>/...`; the tokens are on the ledger."""
        row = {}
        done = [evaluated(spec).figures for spec in self.specs]
        for figures, prompt_tokens in zip(
            done, self.prompt_tokens
        ):  # a signal may break them off: then none is counted
            self.ledger.evaluated(prompt_tokens, figures["tokens"], self.parameters)
            row |= summary(figures)
        return row


def during_training(
    held_out: HeldOut, policy: Policy, samplers: Samplers | None, say: Callable[[str], None]
) -> Callable[[int, OwnWork], dict]:
    """evaluate(step, own_work) of a stage that trains; what stands in the run's folder is read, not sampled again."""
    ready, run = held_out.ready, held_out.run

    def of_step(step: int, own_work: OwnWork) -> dict:
        trained = {"run": run.manifest["hash"], "stage": ready.stage.name, "step": step}

        def evaluated(spec: EvaluationSpec) -> Evaluation:
            assert samplers is not None  # the sets' verifiers are in the table
            engine, verification = samplers
            worlds = held_out.worlds(spec.name)
            origin = PolicyCompleter(policy, engine, ready.renderer, ready.stage.engine, trained, own_work, worlds)
            out = run.evaluation(ready.stage.name, step, spec.name)
            ranks.first(_clear_other, out, runner.identity(spec, origin))
            return runner.completed(spec, origin, out, lambda: nullcontext(verification.pool), say, {})

        return held_out.metrics(evaluated)

    return of_step


def _clear_other(out: Path, identity: dict) -> None:
    """What was evaluated otherwise, before the recipe's evaluation or a verifier was changed, goes."""
    if (out / MANIFEST).exists() and read_manifest(out)["identity"] != identity:
        shutil.rmtree(out)
