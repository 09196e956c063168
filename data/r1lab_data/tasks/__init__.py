"""Procedural tasks: problems drawn from a seed. Not verifiers: they are named, never imported.

A prompt belongs to one split by its own words, or by those that its task says (`split_of`): train and eval never share
a problem, whatever the seeds.
"""

import inspect
from collections.abc import Callable
from functools import partial
from hashlib import blake2b

from r1lab_data.names import did_you_mean
from r1lab_data.overlap import normalise
from r1lab_data.problem import DataError, Problem
from r1lab_data.seeds import generator
from r1lab_data.tasks.addition import addition
from r1lab_data.tasks.compared_addition import addition_comparisons
from r1lab_data.tasks.countdown import countdown
from r1lab_data.tasks.fincorp import fincorp
from r1lab_data.tasks.general_points import general_points
from r1lab_data.tasks.gym import PREFIX, gym_task
from r1lab_data.tasks.labelled_addition import addition_labels, addition_pairs, addition_steps
from r1lab_data.tasks.linear import linear
from r1lab_data.tasks.multiplication import multiplication

Task = Callable[..., dict]

LABELLED: dict[str, Task] = {task.__name__: task for task in (addition_pairs, addition_labels, addition_steps)}
"""Tasks whose answer is what is said of completions (`r1lab_data.labelled`), for stages that learn from it."""

ANSWERED: dict[str, Task] = {
    task.__name__: task
    for task in (addition, countdown, linear, multiplication, addition_comparisons, fincorp, general_points)
}
"""Tasks whose answer a verifier checks."""

TASKS: dict[str, Task] = ANSWERED | LABELLED
"""Name -> f(rng, **settings) -> {prompt, answer, solution, meta}, and `split_by` where more than the prompt's own words
is to stay in one split."""

VERIFIERS = {
    **dict.fromkeys(ANSWERED, "numeric"), **dict.fromkeys(LABELLED, ""), "countdown": "countdown",
    "general_points": "countdown", "addition_comparisons": "exact", "fincorp": "exact",
    "gym": "reasoning_gym",
}  # fmt: skip
"""The verifier of a task's problems unless the recipe names another; all of reasoning-gym's share one. Labelled
completions have none."""

COMMUTATIVE = frozenset({"addition", "multiplication", *LABELLED})
"""Tasks where a prompt with its words in another order is the same problem: 285+347 is in the split of 347+285."""

SPLITS = ("train", "eval")
MAX_TRIES = 2_000
"""Draws of one problem before the space counts as too small."""


def generate(
    task: str, *, size: int, seed: int, split: str, source: str, settings: dict | None = None, verifier: str = ""
) -> list[Problem]:
    """`size` different problems; the first n are the same for every size.

    Problem i is drawn from (seed, task, split, i), and again from the same generator while it belongs to the other
    split or came before. Different: their normalised texts differ. DataError: unknown names, settings out of range, or
    more problems asked for than there are.
    """
    if split not in SPLITS:
        raise DataError(f"task {task}: split {split!r}; procedural tasks have the splits {' and '.join(SPLITS)}")
    if size < 1:
        raise DataError(f"task {task}: size {size}; give the number of problems, from 1 on")
    draw = task_named(task)
    settings = dict(settings or {})
    check_settings(task, draw, settings)
    verifier = verifier or VERIFIERS["gym" if task.startswith(PREFIX) else task]
    seen: set[str] = set()
    made = []
    for index in range(size):
        drawn = unseen(partial(draw, generator(seed, task, split, index), **settings), task, split, seen)
        if drawn is None:
            raise DataError(
                f"task {task}: {size} problems asked for, but split {split!r} has hardly more than {index} with "
                f"settings {settings}; lower size or widen the settings"
            )
        made.append(Problem(id=f"{source}/{index}", verifier=verifier, source=source, **drawn))
    return made


def task_named(task: str) -> Task:
    """The function of a task, ours or `gym:<task>`."""
    if task.startswith(PREFIX):
        return gym_task(task.removeprefix(PREFIX))
    if task not in TASKS:
        hint = did_you_mean(task, TASKS)
        raise DataError(f"unknown task {task!r}; allowed: {', '.join(TASKS)} and gym:<reasoning-gym's task>{hint}")
    return TASKS[task]


def check_settings(task: str, draw: Task, settings: dict) -> None:
    """Every setting is one the task's function names; what its value may be the task itself says."""
    known = list(inspect.signature(draw).parameters)[1:]
    unknown = [] if "settings" in known else [name for name in settings if name not in known]
    if unknown:
        raise DataError(
            f"task {task}: unknown setting {unknown[0]!r}; allowed: {', '.join(known)}{did_you_mean(unknown[0], known)}"
        )


def unseen(draw: Callable[[], dict], task: str, split: str, seen: set[str]) -> dict | None:
    """A problem of the split whose text is not in `seen`, which it joins; None after MAX_TRIES draws."""
    for _ in range(MAX_TRIES):
        drawn = draw()
        together = drawn.pop("split_by", drawn["prompt"])
        key = normalise(drawn["prompt"])
        if key not in seen and split_of(task, together) == split:
            seen.add(key)
            return drawn
    return None


def split_of(task: str, prompt: str) -> str:
    """The split a prompt belongs to by a hash of its normalised text: `eval` for one in eight, `train` for the rest."""
    words = normalise(prompt).split()
    text = " ".join(sorted(words) if task in COMMUTATIVE else words)
    return "eval" if blake2b(text.encode(), digest_size=1).digest()[0] % 8 == 0 else "train"
