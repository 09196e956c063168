"""One problem for each step of a worked solution: what comes next, after the problem and the steps before (SRL, arXiv
2510.25992). Not the steps of labelled completions (`labelled`), nor of verdicts."""

from collections.abc import Sequence
from dataclasses import replace

from r1lab_data.problem import DataError, Problem


def one_for_each_step(problems: Sequence[Problem], separator: str) -> list[Problem]:
    """A problem for each part between separators of a solution that holds text, which is its answer and its solution;
    the prompt ends in the parts before. DataError for a problem without a solution."""
    found = []
    for problem in problems:
        if problem.solution is None or not problem.solution.strip():
            raise DataError(f"steps_at: problem {problem.id!r} has no solution to take steps of; map columns.solution")
        parts, done = problem.solution.split(separator), ""
        for number, part in enumerate(parts, 1):
            if part.strip():
                step = part.strip()
                made = replace(problem, id=f"{problem.id}/step-{number}", answer=step, solution=step)
                found.append(replace(made, prompt=_after(problem.prompt, done)))
            done += part + separator
    return found


def _after(prompt: str | tuple[dict[str, str], ...], done: str) -> str | tuple[dict[str, str], ...]:
    """The prompt, of messages its last, with what is done of the solution behind it."""
    if not done.strip():
        return prompt
    if isinstance(prompt, str):
        return f"{prompt}\n{done.strip()}"
    return (*prompt[:-1], {**prompt[-1], "content": f"{prompt[-1]['content']}\n{done.strip()}"})
