"""The dataset that a `reject` or `judge` stage makes: `data/train.jsonl` and a card, and how a later stage reads it.

One row a demonstration (id, prompt, answer, solution), a problem or a pair (id, prompt, chosen, rejected), and where it
comes from. It is a local dataset like any other
(`r1lab_data.loaders`); the bytes depend on the recipe and the data alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from r1lab.errors import RunError
from r1lab.records import Draw, Rollout, Scored
from r1lab.stages.selection import Demonstration, Pair, RatedProblem, Selection
from r1lab_data import Problem, labelled
from r1lab_data.problem import Conversation

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
"""Columns of a demonstration beside id, prompt, answer and solution, and what they say."""
OF_OTHERS = {
    "pass_rate": "share of right completions",
    "judged": "completions that the share is of",
    "preference": "how far the judge prefers the chosen one, from 0.5 to 1, mean of both orders",
    "principle": "what it was asked to judge by",
    "chosen_index": "number of the chosen completion in the draw",
    "rejected_index": "number of the rejected one",
    "chosen_seed": "of the chosen completion",
    "rejected_seed": "of the rejected one",
}
"""Further columns of problems and pairs."""
KINDS = {
    "solution": ("demonstrations", "Verified samples", "accepted by the problems' verifier",
                 "Right is what a program accepts; the reasoning before an answer was not judged."),
    "chosen": ("pairs", "Pairs", "told apart as the stage says", "The chosen one is better than the other, not right."),
    "pass_rate": ("problems", "Problems", "kept by their pass rate", "The rate is the sampling model's."),
}  # fmt: skip
"""By the column that tells a kind of dataset: what a row is, the title, how they were selected, and a caution."""


def plain(row: Demonstration | RatedProblem | Pair, *, versions: Mapping[str, str], **shared: str) -> dict[str, Any]:
    """A row of any kind as plain data; `shared` is model, recipe and stage."""
    if isinstance(row, Demonstration):
        return row_of(row.draw, row.member, versions=versions, **shared)
    return (_rated(row, versions) if isinstance(row, RatedProblem) else _paired(row, versions)) | shared


def _origin(problem: Problem, versions: Mapping[str, str]) -> dict[str, Any]:
    """Where a row's problem is from."""
    return {
        "problem": problem.id,
        "source": problem.source,
        "meta": dict(problem.meta),
        "verifier": problem.verifier,
        "verifier_version": versions.get(problem.verifier, ""),
    }


def _rated(row: RatedProblem, versions: Mapping[str, str]) -> dict[str, Any]:
    problem = row.problem
    solution = {} if problem.solution is None else {"solution": problem.solution}
    asked = {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, **solution}
    return {**asked, **_origin(problem, versions), "pass_rate": row.pass_rate, "judged": row.judged}


def _paired(row: Pair, versions: Mapping[str, str]) -> dict[str, Any]:
    problem = row.draw.problem
    texts = {"chosen": row.chosen.rollout.text, "rejected": row.rejected.rollout.text}
    requests = {name: getattr(row, name).rollout.request for name in texts}
    where = {f"{name}_index": request.id.index for name, request in requests.items()}
    where |= {f"{name}_seed": request.seed for name, request in requests.items()}
    name = f"{problem.id}@{row.draw.number}.{where['chosen_index']}.{where['rejected_index']}"
    sampling = {"draw": row.draw.number, "temperature": requests["chosen"].sampling.temperature}
    asked = {"id": name, "prompt": problem.prompt, **texts}
    return {**asked, **_origin(problem, versions), **row.told, **where, **sampling}


def row_of(draw: Draw, member: Scored, *, versions: Mapping[str, str], **shared: str) -> dict[str, Any]:
    """One demonstration as plain data; `shared` is model, recipe and stage."""
    problem, rollout, verdict = draw.problem, member.rollout, member.verdict
    request = rollout.request
    return {
        "id": f"{problem.id}@{draw.number}.{request.id.index}",
        "prompt": problem.prompt,
        "answer": problem.answer,
        "solution": _demonstration(rollout),
        **_origin(problem, versions),
        **{name: getattr(verdict, name, None) for name in ("score", "status", "extracted")},
        "num_tokens": rollout.num_sampled,
        "seed": request.seed,
        "draw": draw.number,
        "index": request.id.index,
        "temperature": request.sampling.temperature,
        **shared,
    }


def _demonstration(rollout: Rollout) -> str | list[dict[str, str]]:
    """The text, or of an episode of several turns who said what; what answered the last turn nobody read."""
    said = rollout.about_turns.get("turns", [])
    if len(rollout.turns) < 2:
        return rollout.text
    names = {"assistant": "assistant", "environment": "tool"}
    turns = [{"role": names[each["role"]], "content": each["content"]} for each in said]
    return turns if turns[-1]["role"] == "assistant" else turns[:-1]


def write(folder: Path, selection: Selection, *, versions: Mapping[str, str], **shared: str) -> None:
    """The dataset and its card in `folder`, which is made."""
    folder.mkdir()
    rows = [plain(row, versions=versions, **shared) for row in selection.rows]
    text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
    (folder / FILE).write_text(text, encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(card(selection, rows[0], shared), encoding="utf-8", newline="\n")


def read(folder: Path, source: str, verifier: str = "") -> list[Problem]:
    """The rows as problems of `source`, in order, with their own verifier where none is given.

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
    if "chosen" in row:
        pair = labelled.Labelled("pairs", ((row["chosen"],), (row["rejected"],)), ((1,), (0,)))
        return Problem(name, prompt, labelled.answer_of(pair), source=source, meta=row["meta"])
    answer, judge = row["answer"], verifier or row["verifier"]
    solution = row.get("solution")
    solution = Conversation(solution) if isinstance(solution, list) else solution
    return Problem(name, prompt, answer, judge, solution, source, row["meta"])


def columns_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The `columns` by which another recipe reads the dataset."""
    answer = row.get("answer")
    parts = {"answer": {key: f"answer.{key}" for key in answer}} if isinstance(answer, dict) else {}
    return {"id": "id", **({"solution": "solution"} if "solution" in row else {}), **parts}


def card(selection: Selection, first: Mapping[str, Any], shared: Mapping[str, str]) -> str:
    """README.md: what it is, how it was selected, how it is read, what the columns say."""
    kind = next(name for name in ("chosen", "pass_rate", "solution") if name in first)
    rows, title, how, caution = KINDS[kind]
    front = {"configs": [{"config_name": "default", "data_files": FILE}], "tags": ["r1lab", "rejection-sampling"]}
    source = {"data": {"path": "<this folder>", "columns": columns_of(first)}}
    main = [name for name in ("id", "prompt", "answer", "solution", "chosen", "rejected") if name in first]
    told = "`solution` (the completion)" if kind == "solution" else f"`{main[-1]}`"
    lines = [
        "---\n" + yaml.safe_dump(front, sort_keys=False) + "---\n",
        f"# {title} of stage `{shared['stage']}`\n",
        f"{len(selection.rows)} {rows} of {selection.problems} problems, sampled from {shared['model']} in run "
        f"`{shared['recipe']}` of r1lab and {how}.\n",
        f"Of {selection.sampled} {selection.what}:\n",
        *(f"- {selection.refused[name]} {said}" for name, said in selection.filters.items() if selection.refused[name]),
        f"- {len(selection.rows)} were kept\n",
        f"{caution}\n",
        "## Use\n",
        "In a recipe:\n",
        f"```yaml\n{yaml.safe_dump(source, sort_keys=False)}```\n",
        "## Columns\n",
        f"{', '.join(f'`{name}`' for name in main[:-1])} and {told}, and where each comes from:\n",
        *(f"- `{name}`: {said}" for name, said in {**PROVENANCE, **OF_OTHERS}.items() if name in first),
    ]
    return "\n".join(lines) + "\n"
