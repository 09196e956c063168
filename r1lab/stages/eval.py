"""An `eval` stage: evaluate the newest model on each of the stage's sets, as `r1lab eval` does, in the run's folder.

Every set is resumable by itself (`r1lab.evaluation.runner`); the stage is done once `stage.json` is there.
"""

import json
from contextlib import ExitStack
from pathlib import Path

from r1lab.evaluation import runner
from r1lab.evaluation.model_completer import ModelCompleter
from r1lab.evaluation.runner import Evaluation, EvaluationSpec
from r1lab.evaluation.scores import checked_ks, summary
from r1lab.policy import models
from r1lab.recipe.load import Plan
from r1lab.records import EvaluationSet
from r1lab.rollout.requests import evaluation_sampling
from r1lab.run import files
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import goal_of
from r1lab.stages import build
from r1lab.stages.prepare import Ready


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Evaluate every set and end in one row of metrics and the record that the stage is done."""
    stage, folder, row = ready.stage, run.stage_folder(ready.stage.name), {}
    progress.stage(stage.name, None, None)
    for eval_set in ready.sets:
        done = _evaluated(eval_set, ready, plan, run, folder / eval_set.name, progress)
        rows = done.rows
        weights = models.weights_by_config(models.load_config(build.start(ready, run)))
        prompts = sum(len(ready.renderer.render(problem)) for problem in eval_set.problems) * stage.eval.n
        ledger.evaluated(prompts, sum(line["num_tokens"] for line in rows), weights)
        row |= summary(eval_set.name, rows, plan.seed)
        if done.figures["maj"]:
            row[f"eval/{eval_set.name}/maj@{stage.eval.n}"] = done.figures["maj"]["value"]
    row = {"stage": stage.name, "step": 0, **row, **ledger.row()}
    metrics.append(row)
    progress.step(row)
    record = {"goal": goal_of(stage), "ledger": ledger.state_dict(), "metrics": metrics.size}
    files.atomic_file(folder / "stage.json", lambda path: path.write_text(json.dumps(record), encoding="utf-8"))


def _evaluated(
    eval_set: EvaluationSet, ready: Ready, plan: Plan, run: RunFolder, out: Path, progress: Progress
) -> Evaluation:
    stage, knobs = ready.stage, ready.stage.eval
    engine = stage.engine.model_copy(update={"kind": run.pinned[stage.name]["engine"]})
    origin = ModelCompleter(build.start(ready, run), stage.prompt, engine)
    asking = (eval_set, knobs.n, plan.seed, evaluation_sampling(stage))
    table = {problem.verifier: ready.table[problem.verifier] for problem in eval_set.problems}
    note = {"run": run.manifest["hash"], "stage": stage.name}
    prompt = stage.prompt.model_dump(mode="json")
    spec = EvaluationSpec(*asking, table, checked_ks((), knobs.n), prompt, stage.workers, note, plan.base)
    return runner.evaluate(spec, origin, out, progress.say)
