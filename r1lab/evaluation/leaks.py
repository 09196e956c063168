"""Refuse a recipe whose training data, in any stage, holds problems of its evaluation sets. Not how they are counted
(`r1lab_data.overlap`)."""

from collections.abc import Mapping, Sequence

from r1lab.errors import RecipeError
from r1lab.recipe import AnyStageConfig
from r1lab.records import EvaluationSet
from r1lab_data import Problem
from r1lab_data.overlap import overlap

Parts = tuple[AnyStageConfig, Mapping[str, Sequence[Problem]], Sequence[EvaluationSet]]


def check(stages: Sequence[Parts]) -> None:
    """RecipeError for a set that shares problems with the training data, literally or but for their numbers; the latter
    may be allowed by the set's name."""
    train = [problem for _, sources, _ in stages for problems in sources.values() for problem in problems]
    is_generated = all(
        is_ours(source.task) for stage, _, _ in stages for source in stage.data.values() if not source.stage
    )
    checked = set()
    for stage, _, sets in stages:
        for eval_set in sets:
            content = tuple(
                problem.prompt if isinstance(problem.prompt, str) else problem.id for problem in eval_set.problems
            )
            if (eval_set.name, content) not in checked:
                checked.add((eval_set.name, content))
                # Generated problems differ in nothing but numbers by nature; their splits are disjoint by construction.
                source = stage.eval.sets[eval_set.name]
                by_nature = (is_generated and is_ours(source.task)) or source.holdout_by == "text"
                check_set(eval_set, train, may_mask=by_nature or eval_set.name in stage.eval.allow_masked_overlap)


def check_set(eval_set: EvaluationSet, train: Sequence[Problem], *, may_mask: bool) -> None:
    """RecipeError where problems of the set stand in `train`, or are those with other numbers and may not be."""
    shared = overlap(train, eval_set.problems)
    if shared.exact:
        more = f"; those with other numbers alone may stay: eval.allow_masked_overlap: [{eval_set.name}]"
        raise RecipeError(
            f"eval.sets.{eval_set.name}: {shared.exact} of {len(eval_set.problems)} problems stand in the training "
            f"data too ({shared.masked} once numbers are masked); take them out of one of the two"
            + (more if shared.masked > shared.exact and not may_mask else "")
        )
    if shared.masked and not may_mask:
        raise RecipeError(
            f"eval.sets.{eval_set.name}: {shared.masked} of {len(eval_set.problems)} problems are training problems "
            f"with other numbers (0 exactly); allow it with eval.allow_masked_overlap: [{eval_set.name}]"
        )


def is_ours(task: str | None) -> bool:
    return task is not None and not task.startswith("gym:")
