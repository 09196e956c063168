"""The problems of a recipe's data source, loaded or generated. Not what a source may say (`r1lab.recipe.data`)."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from r1lab.errors import RecipeError
from r1lab.recipe import SourceConfig
from r1lab_data import DataError, Problem, tasks
from r1lab_data.loaders import load
from r1lab_data.problem import RowError
from r1lab_data.steps import one_for_each_step

SHOWN_PROBLEMS = 5
DROP_ROWS = "; or leave such rows out with on_bad_row: drop, beside the path"
OF_DATASETS = ("split", "config", "columns", "answer_format", "where", "distinct", "holdout", "holdout_by",
               "part", "limit")  # fmt: skip
"""Knobs of a source that `r1lab_data.loaders.load` takes by the same names."""


def load_problems(
    source: SourceConfig,
    name: str,
    verifier: str,
    base: Path,
    key: str = "",
    *,
    demonstrates: bool = False,
    is_whole: bool = False,
    is_labelled: bool = False,
    needs_answer: bool = True,
    notes: list[str] | None = None,
) -> list[Problem]:
    """The problems of one source, which name `verifier` as theirs. RecipeError says where it stands (the recipe's
    `key`) and what is wrong; of rows that the source drops a line goes to `notes`. demonstrates, is_whole, is_labelled,
    needs_answer: see `r1lab_data.loaders.load`."""
    where = key or ("data" if name == "data" else f"data {name}")
    bad_rows: list[str] | None = [] if source.on_bad_row == "drop" else None
    try:
        if source.task is not None:
            knobs = {"size": source.limit or source.size, "seed": source.seed, "split": source.split}
            made = tasks.generate(source.task, **knobs, source=name, settings=dict(source.settings), verifier=verifier)
            return made if source.steps_at is None else one_for_each_step(made, source.steps_at)
        assert source.path is not None  # a source has one origin, and `stage` is read by the stages
        knobs = {key: getattr(source, key) for key in OF_DATASETS}
        knobs |= {
            "demonstrates": demonstrates or source.steps_at is not None,
            "is_whole": is_whole,
            "is_labelled": is_labelled,
            "needs_answer": needs_answer,
        }
        made = load(source.path, source=name, verifier=verifier, base=base, bad_rows=bad_rows, **knobs)
        made = made if source.steps_at is None else one_for_each_step(made, source.steps_at)
    except DataError as error:
        told = _as_options(str(error)) if key.startswith("--") else f"{error}{DROP_ROWS * isinstance(error, RowError)}"
        raise RecipeError(f"{where}: {told}") from None
    if bad_rows and notes is not None:
        total = len(made) + len(bad_rows)
        notes.append(f"{where}: {len(bad_rows)} of {total} rows make no problem and were dropped ({bad_rows[0]})")
    return made


def _as_options(text: str) -> str:
    """A remedy in the words of a command line instead of a recipe's."""
    # "set columns: {answer: ...}" is "give --columns answer=..."
    text = re.sub(r"set columns: \{(\w+): \.\.\.\}", r"give --columns \1=...", text)
    # "use another answer_format (hash, ..."
    return text.replace("another answer_format", "another --answer-format")


def fitting(
    where: str,
    source: SourceConfig,
    problems: Sequence[Problem],
    misfit: Callable[[Problem], str | None],
    notes: list[str],
) -> list[Problem]:
    """The problems without those that do not fit a context, where the source drops them: for these `misfit` gives a
    reason, and a line in `notes` counts them. RecipeError where none is left."""
    if source.on_long_prompt == "error":
        return list(problems)
    reasons = {problem.id: reason for problem in problems if (reason := misfit(problem))}
    if not reasons:
        return list(problems)
    count = f"{where}: {len(reasons)} of {len(problems)} prompts are too long for the model's context"
    if len(reasons) == len(problems):
        raise RecipeError(f"{count}; nothing is left to drop them from ({next(iter(reasons.values()))})")
    notes.append(f"{count} and were dropped ({', '.join(list(reasons)[:SHOWN_PROBLEMS])})")
    return [problem for problem in problems if problem.id not in reasons]
