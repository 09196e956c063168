"""R1-Zero beside SFT followed by RL: the same problems, the same token budget, the embedded model, a CPU.

Two shipped recipes run one after the other, then a table, a report and `summary.json`. One seed is an example, not a
ranking: the difference of the arms is labelled as what it is.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab.evaluation.folder import read_rows
from r1lab.recipe import load
from r1lab.recipe.load import Plan
from r1lab.run import files
from r1lab.run.files import atomic_file
from r1lab.run.folder import evaluation_table
from r1lab.run.progress import Progress
from r1lab.stages import check
from r1lab.stats import intervals

if TYPE_CHECKING:
    from r1lab.pipeline import Run

ARMS = {"zero": "quickstart_zero", "sft_rl": "quickstart_sft_rl"}
TITLES = {"base": "base model", "zero": "R1-Zero", "sft_rl": "SFT, then RL"}
SET = "held_out"


def quickstart(overrides: list[str]) -> dict:
    """Both arms in the folder `out` (default: quickstart), resumed where they stand; returns `summary.json`."""
    start = time.monotonic()
    out = Path(next((text.partition("=")[2] for text in overrides if text.startswith("out=")), "quickstart"))
    shared = [text for text in overrides if not text.startswith("out=")]
    plans = {arm: _plan(recipe, out / arm, shared) for arm, recipe in ARMS.items()}
    checked = {arm: check.early(plan) for arm, plan in plans.items()}
    from r1lab import pipeline  # these load torch and matplotlib, which no mistake above waits for
    from r1lab.report.report import report

    console = Console(soft_wrap=True)
    console.print(f"Two ways to teach one small model to add, at the same token budget; into {out}", highlight=False)
    runs = {arm: pipeline.train(plan, Progress(arm), checked[arm]) for arm, plan in plans.items()}
    if not (out / "base").exists():
        with files.atomic_folder(out / "base") as folder:
            shutil.copytree(embedded.path(), folder, dirs_exist_ok=True)
    summary = {"base": _base(out, runs["zero"]), "arms": {arm: _arm(out, arm, run) for arm, run in runs.items()}}
    difference = intervals.paired_score_difference(
        _scores(out, summary["arms"]["sft_rl"]), _scores(out, summary["arms"]["zero"])
    )
    note = (
        f"SFT, then RL minus R1-Zero, paired by problem: {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}]. One seed: it says how these two runs differ on these "
        "problems, not which way is better."
    )
    page = report([run.path for run in runs.values()], out / "report", labels=[TITLES[arm] for arm in runs])
    summary["seconds"] = _seconds(out, summary, time.monotonic() - start)
    text = json.dumps(summary, indent=1) + "\n"
    atomic_file(out / "summary.json", lambda path: path.write_text(text, encoding="utf-8"))
    console.print(_table(summary))
    console.print(note, highlight=False)
    console.print(f"{summary['seconds']:.0f} s. Open {page}", highlight=False)
    return summary


def _seconds(out: Path, summary: dict, seconds: float) -> float:
    """Of this call, or of the one that did the work where nothing was left to do."""
    path = out / "summary.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return before["seconds"] if {**before, "seconds": 0} == {**summary, "seconds": 0} else seconds


def _plan(recipe: str, folder: Path, overrides: list[str]) -> Plan:
    raw, base = load.read(recipe, overrides)
    raw["out"] = str(folder)
    plan = load.resolve(raw, base)
    for stage in plan.stages:
        knobs = stage.eval
        as_shipped = (
            SET in knobs.sets and knobs.at_start and (knobs.n, knobs.temperature, knobs.keep_best) == (1, 1, None)
        )
        if not as_shipped or stage.model != "embedded":
            raise RecipeError(
                f"quickstart compares the embedded model's arms on {SET!r} from the start, one sample each at "
                "temperature 1; leave model and eval as they are, or use r1lab train"
            )
    return plan


def _base(out: Path, run: Run) -> dict:
    first = next(row for row in run.metrics if f"eval/{SET}/avg" in row)
    table = evaluation_table(run.path, first["stage"], first["step"], SET)
    return _score(first) | {"n": first[f"eval/{SET}/problems"], "model": "base", "eval": os.path.relpath(table, out)}


def _arm(out: Path, arm: str, run: Run) -> dict:
    assert run.model is not None  # both arms train
    last = next(row for row in reversed(run.metrics) if f"eval/{SET}/avg" in row)
    table = evaluation_table(run.path, last["stage"], last["step"], SET)
    return _score(last) | {
        "tokens": run.metrics[-1]["tokens/budget"],
        "model": os.path.relpath(run.model, out),
        "eval": os.path.relpath(table, out),
    }


def _score(row: dict) -> dict:
    return {"accuracy": row[f"eval/{SET}/avg"], "low": row[f"eval/{SET}/low"], "high": row[f"eval/{SET}/high"]}


def _scores(out: Path, arm: dict) -> dict[str, float]:
    return {row["problem_id"]: float(row["score"] == 1.0) for row in read_rows(out / arm["eval"])}


def _table(summary: dict) -> Table:
    table = Table(title=f"{summary['base']['n']} held-out problems, one sample each at temperature 1")
    for heading in ("model", "accuracy", "95 % interval", "gain", "budget tokens"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    base = summary["base"]
    for name, row in {"base": base, **summary["arms"]}.items():
        gain = "" if name == "base" else f"{row['accuracy'] - base['accuracy']:+.3f}"
        tokens = f"{row['tokens']:,}" if "tokens" in row else ""
        table.add_row(TITLES[name], f"{row['accuracy']:.3f}", f"[{row['low']:.3f}, {row['high']:.3f}]", gain, tokens)
    return table
