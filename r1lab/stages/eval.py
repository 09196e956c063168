"""An `eval` stage: evaluate the newest model on each of the stage's sets, as `r1lab eval` does, in the run's folder.

Every set is resumable by itself (`r1lab.evaluation.runner`); the stage is done once `stage.json` is there.
"""

import json
from contextlib import ExitStack

from r1lab.evaluation import runner
from r1lab.evaluation.model_completer import ModelCompleter
from r1lab.evaluation.runner import Evaluation, EvaluationSpec
from r1lab.policy import models
from r1lab.recipe.load import Plan
from r1lab.run import files
from r1lab.run.folder import RunFolder
from r1lab.run.ledger import Ledger
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress
from r1lab.run.stopping import goal_of
from r1lab.stages import build
from r1lab.stages.held_out import HeldOut
from r1lab.stages.prepare import Ready


def run_stage(
    ready: Ready, plan: Plan, run: RunFolder, progress: Progress, metrics: MetricsFile, ledger: Ledger, stack: ExitStack
) -> None:
    """Evaluate every set and end in one row of metrics and the record that the stage is done."""
    stage, folder = ready.stage, run.stage_folder(ready.stage.name)
    progress.stage(stage.name, None, None)
    engine = stage.engine.model_copy(update={"kind": run.pinned[stage.name]["engine"]})
    location = build.start(ready, run)

    def evaluated(spec: EvaluationSpec) -> Evaluation:
        origin = ModelCompleter(location, stage.prompt, engine, worlds=held_out.worlds(spec.name))
        return runner.evaluate(spec, origin, folder / spec.name, progress.say)

    weights = models.weights_by_config(models.load_config(location))
    held_out = HeldOut(ready, plan, run, ledger, weights)
    row = {"stage": stage.name, "step": 0, **held_out.metrics(evaluated)}
    row |= ledger.row()
    metrics.append(row)
    progress.step(row)
    record = {"goal": goal_of(stage), "ledger": ledger.state_dict(), "metrics": metrics.size}
    files.atomic_file(folder / "stage.json", lambda path: path.write_text(json.dumps(record), encoding="utf-8"))
