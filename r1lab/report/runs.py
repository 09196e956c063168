"""Read a run's folder for a report: metrics, manifest, last scores, samples of completions. Verifies nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from r1lab.run import journal
from r1lab.run.folder import evaluation_table

COLUMNS = (
    "purpose", "draw", "problem_id", "prompt_text", "text", "turns", "num_tokens", "finish", "decision", "reward",
    "status", "extracted", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """The metrics of one run, as they are drawn."""

    label: str
    rows: tuple[dict, ...]
    """metrics.jsonl in order: `stage` and finite numbers only, with `at/step` and `at/tokens` (of the whole run so far)
    and, in SFT stages, `sft/loss`."""
    sft: frozenset[str] = frozenset()
    """Names of the stages that are SFT."""

    def series(self, key: str, x: str = "at/step") -> tuple[list[float], list[float]]:
        """The points of one metric; rows that lack it are passed over."""
        points = [(row[x], row[key]) for row in self.rows if row.get(key) is not None]
        return [at for at, _ in points], [value for _, value in points]

    def names(self, prefix: str) -> list[str]:
        """What follows `prefix` in the run's keys, in order of appearance; the total of `pass/` is no part of it."""
        found = {key: None for row in self.rows for key in row if key.startswith(prefix)}
        return [key.removeprefix(prefix) for key in found if key != "pass/share"]


def manifest_of(folder: Path) -> dict:
    """Its manifest, empty where there is none; ValueError where it cannot be read."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); resume the run to repair it") from None
    return manifest if isinstance(manifest, dict) else {}


def recipe_stages(manifest: Mapping) -> list[dict]:
    """The stages of a manifest's recipe; none where it holds none."""
    recipe = manifest.get("recipe")
    stages = recipe.get("stages") if isinstance(recipe, dict) else None
    return [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []


def read(folder: Path, manifest: Mapping, label: str) -> Curves:
    """A run's metrics; ValueError says what is missing."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"{folder}: no metrics.jsonl; give the folder of a run that has done at least one step")
    rows = []
    for number, line in enumerate(lines := path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(dict(json.loads(line)))
        except TypeError:
            raise ValueError(f"{path}, line {number}: no JSON object; resume the run to repair it") from None
        except ValueError as error:
            if number < len(lines):  # a run may be writing its last line right now
                raise ValueError(f"{path}, line {number}: not JSON ({error}); resume the run to repair it") from None
    if not rows:
        raise ValueError(f"{path}: no rows; give a run that has done at least one step")
    stages = list(dict.fromkeys(str(row.get("stage")) for row in rows))
    return _placed(label, rows, frozenset(name for name in stages if _is_sft(name, rows, manifest)))


def _placed(label: str, rows: list[dict], sft: frozenset[str]) -> Curves:
    """Rows with finite numbers only, and where in the whole run each stands."""
    placed, before, at, tokens, stage = [], 0, 0, 0, None
    for row in rows:
        name = str(row.get("stage"))
        if name != stage:
            before, stage = at, name
        kept = {key: value for key, value in row.items() if isinstance(value, int | float) and isfinite(value)}
        at, tokens = before + kept.get("step", 0), kept.get("tokens/budget", tokens)
        kept |= {"stage": name, "at/step": at, "at/tokens": tokens}
        if name in sft and "loss/value" in kept:
            kept["sft/loss"] = kept["loss/value"]
        placed.append(kept)
    return Curves(label, tuple(placed), sft)


def _is_sft(name: str, rows: list[dict], manifest: Mapping) -> bool:
    kinds = {stage.get("name"): stage.get("kind") for stage in recipe_stages(manifest)}
    if kinds.get(name):
        return kinds[name] == "sft"
    keys = {key for row in rows if str(row.get("stage")) == name for key, value in row.items() if value is not None}
    return "loss/value" in keys and "reward/mean" not in keys


def evaluation_sets(run: Curves) -> list[str]:
    """Names of the sets it was evaluated on, in order of appearance."""
    return [name.removesuffix("/avg") for name in run.names("eval/") if name.endswith("/avg")]


def scores_of(folder: Path, row: Mapping, name: str) -> dict[str, float]:
    """Share of right completions by problem in one evaluation; empty where its table is missing."""
    path = evaluation_table(folder, row["stage"], int(row.get("step", 0)), name)
    rows = journal.read_rows(path, ("problem_id", "score")) if path.is_file() else []
    right: dict[str, list[bool]] = {}
    for line in rows if rows and "score" in rows[0] else []:
        right.setdefault(str(line.get("problem_id")), []).append(line.get("score") == 1)
    return {problem: sum(right_K) / len(right_K) for problem, right_K in right.items()}


def samples(folder: Path, run: Curves) -> list[tuple[str, int, list[dict]]]:
    """(stage, step, completions) at the start, middle and end of training; of RL stages where there are some."""
    order = {row["stage"]: i for i, row in reversed(list(enumerate(run.rows)))}
    files = [(match[1], int(match[2]), path) for path in sorted((folder / "rollouts").glob("*.parquet"))
             # "rl-12"; not "rl"
             if (match := re.fullmatch(r"(.+)-(\d+)", path.stem))]  # fmt: skip
    files = [file for file in files if file[0] not in run.sft] or files
    files.sort(key=lambda file: (order.get(file[0], len(order)), file[1]))
    chosen = sorted({0, len(files) // 2, len(files) - 1}) if files else []
    return [(stage, step, pick(journal.read_rows(path, COLUMNS))) for stage, step, path in (files[i] for i in chosen)]


def pick(rows: Sequence[dict]) -> list[dict]:
    """At most three completions, nulls left out: best and worst of the first group that has both, one more status."""
    rows = [{key: value for key, value in row.items() if value is not None and value == value} for row in rows]
    rows = [row for row in rows if row.get("purpose", "train").startswith("train") and "text" in row]
    rows = [row | {"text": conversation(row)} if row.get("turns") else row for row in rows]
    groups: dict = {}
    for row in rows:
        if "reward" in row:
            groups.setdefault(row.get("draw", 0), []).append(row)
    ranked = [sorted(group, key=lambda row: -row["reward"]) for _, group in sorted(groups.items())]
    mixed = [group for group in ranked if group[0]["reward"] > group[-1]["reward"]]
    chosen = [mixed[0][0], mixed[0][-1]] if mixed else rows[:1]
    seen = {row.get("status") for row in chosen}
    return chosen + [row for row in rows if row.get("status") not in seen][:1]


def conversation(row: Mapping) -> str:
    """An episode's turns and, marked, what was answered to each; its text where they cannot be read."""
    try:
        said = [turn["info"] for turn in json.loads(row["turns"])]
        pairs = [(info.get("text", ""), info.get("observation")) for info in said]
    except (ValueError, LookupError, TypeError, AttributeError):
        return str(row["text"])
    return "\n".join(part for text, answer in pairs for part in (text, f">>> {answer}" if answer is not None else ""))
