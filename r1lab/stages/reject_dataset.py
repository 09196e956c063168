"""The dataset that a `reject` stage makes: `data/train.jsonl` and a card, and how a later stage reads it.

One row a demonstration: id, prompt, answer, solution, and where it comes from. It is a local dataset like any other
(`r1lab_data.loaders`); the bytes depend on the recipe and the data alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from r1lab.errors import RunError
from r1lab.records import Draw, Scored
from r1lab.stages.reject_selection import FILTERS, Selection
from r1lab_data import Problem

FILE = "train.jsonl"
PROVENANCE = {
    "problem": "id of the problem in the stage's data",
    "source": "its source there",
    "meta": "the problem's other columns",
    "verifier": "key of the verifier in the recipe",
    "verifier_version": "hash of its source",
    "score": "the verdict's score, from 0 to 1",
    "status": "the verdict's status",
    "extracted": "what the verifier read as the answer",
    "num_tokens": "tokens of the completion, its end of text counted",
    "model": "what sampled it",
    "recipe": "hash of the run: seed, data and every knob that changes the numbers",
    "stage": "the stage of that run",
    "seed": "of the completion",
    "draw": "number of the problem's draw in the stage",
    "index": "number of the completion in the draw",
    "temperature": "of the sampling",
}
"""Columns beside id, prompt, answer and solution, and what they say."""


def row_of(draw: Draw, member: Scored, *, versions: Mapping[str, str], **shared: str) -> dict[str, Any]:
    """One demonstration as plain data; `shared` is model, recipe and stage."""
    problem, rollout, verdict = draw.problem, member.rollout, member.verdict
    assert verdict is not None  # sampled, not a demonstration
    request = rollout.request
    return {
        "id": f"{problem.id}@{draw.number}.{request.id.index}",
        "prompt": problem.prompt,
        "answer": problem.answer,
        "solution": rollout.text,
        "problem": problem.id,
        "source": problem.source,
        "meta": dict(problem.meta),
        "verifier": problem.verifier,
        "verifier_version": versions[problem.verifier],
        **{name: getattr(verdict, name) for name in ("score", "status", "extracted")},
        "num_tokens": len(rollout.completion_ids),
        "seed": request.seed,
        "draw": draw.number,
        "index": request.id.index,
        "temperature": request.sampling.temperature,
        **shared,
    }


def write(folder: Path, selection: Selection, *, versions: Mapping[str, str], **shared: str) -> None:
    """The dataset and its card in `folder`, which is made."""
    folder.mkdir()
    rows = [row_of(draw, member, versions=versions, **shared) for draw, member in selection.rows]
    text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    (folder / FILE).write_text(text, encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(card(selection, rows[0], shared), encoding="utf-8", newline="\n")


def read(folder: Path, source: str, verifier: str = "") -> list[Problem]:
    """The demonstrations as problems of `source`, in order, with their own verifier where none is given.

    RunError where the file is not what `write` wrote.
    """
    path = folder / FILE
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        return [_problem(row, source, verifier) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path} cannot be read ({reason}); remove the stage's folder to make it anew") from None


def _problem(row: Mapping[str, Any], source: str, verifier: str) -> Problem:
    name, prompt = f"{source}/{row['id']}", row["prompt"] if isinstance(row["prompt"], str) else tuple(row["prompt"])
    answer, judge = row["answer"], verifier or row["verifier"]
    return Problem(name, prompt, answer, judge, row["solution"], source, row["meta"])


def columns_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The `columns` by which another recipe reads the dataset."""
    answer = row["answer"]
    parts = {"answer": {key: f"answer.{key}" for key in answer}} if isinstance(answer, dict) else {}
    return {"id": "id", "solution": "solution", **parts}


def card(selection: Selection, first: Mapping[str, Any], shared: Mapping[str, str]) -> str:
    """README.md: what it is, how it was selected, how it is read, what the columns say."""
    front = {"configs": [{"config_name": "default", "data_files": FILE}], "tags": ["r1lab", "rejection-sampling"]}
    source = {"data": {"path": "<this folder>", "columns": columns_of(first)}}
    lines = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---\n",
        f"# Verified samples of stage `{shared['stage']}`\n",
        f"{len(selection.rows)} demonstrations of {selection.problems} problems, sampled from {shared['model']} in run "
        f"`{shared['recipe']}` of r1lab and accepted by the problems' verifier.\n",
        f"Of {selection.sampled} completions:\n",
        *(f"- {selection.refused[name]} {said}" for name, said in FILTERS.items() if selection.refused[name]),
        f"- {len(selection.rows)} were kept\n",
        "Right is what a program accepts; the reasoning before an answer was not judged.\n",
        "## Use\n",
        "In a recipe:\n",
        f"```yaml\n{yaml.safe_dump(source, sort_keys=False)}```\n",
        "## Columns\n",
        "`id`, `prompt`, `answer` and `solution` (the completion), and where each comes from:\n",
        *(f"- `{name}`: {said}" for name, said in PROVENANCE.items()),
    ]
    return "\n".join(lines) + "\n"
