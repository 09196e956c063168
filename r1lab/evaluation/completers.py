"""Where the completions of an evaluation come from: what every origin of them is, and a file of them.

The other two are a model (`r1lab.evaluation.model_completer`) and a server (`r1lab.evaluation.server_completer`). None
of them verifies: `verify` is given to them, and each completion is handed to it as soon as it is there.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

from r1lab.errors import RecipeError
from r1lab.evaluation.cases import Cases
from r1lab.records import Asking, EvaluationSet, Finish
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

FINISHES = get_args(Finish)


@dataclass(frozen=True)
class Completion:
    """One completion of a problem."""

    problem_id: str
    index: int
    text: str
    """What the verifier reads."""
    finish: str = "stop"
    num_tokens: int | None = None
    """None where nobody counted them."""
    completion_ids: tuple[int, ...] | None = None
    """None where there are none: from a file or a server."""
    about_turns: Mapping[str, Any] = field(default_factory=dict)
    """Of an episode: what a verifier may read of its turns."""
    failure: Verdict | None = None
    """Of an episode whose environment failed: its verdict."""


Verify = Callable[[Completion, Problem], Future[Verdict]]


class Completer(Protocol):
    """An origin of completions for `r1lab.evaluation.runner`."""

    identity: dict[str, Any]
    """What decides the completions, beside the set, n, seed and sampling; plain data."""
    together: int
    """Completions asked for at once: a block of an evaluation that is resumed."""

    def check(self, asking: Asking) -> None:
        """RecipeError for what cannot be answered, before anything is."""
        ...

    def prompt_of(self, problem: Problem) -> str | None:
        """The prompt for people, as the model reads it."""
        ...

    def misfit(self, problem: Problem, max_new_tokens: int) -> str | None:
        """Why the problem's prompt does not fit the model's context, or None, also where nobody knows."""
        ...

    def answers(self, asking: Asking, rows: range, verify: Verify) -> Iterator[tuple[Completion, Verdict]]:
        """n completions of each of the problems at `rows`, in order, with their verdicts."""
        ...

    def close(self) -> None: ...


class FileCompleter:
    """Completions that a JSONL file holds: `id` (the problem's, with or without the set's name in front) and
    `completion` in each row, several rows an id; `finish` and `num_tokens` where known."""

    together = 512

    def __init__(self, path: Path):
        self.path = path
        self.texts: dict[str, list[Completion]] = defaultdict(list)
        digest = hashlib.blake2b(digest_size=12)
        for case in Cases(path, needs_answer=False, report=self._refuse):
            if case.row.get("id") is None:
                self._refuse(f"{path}, {case.id}: no id; each row needs the id of its problem")
            finish, tokens = case.row.get("finish") or "stop", case.row.get("num_tokens")
            if finish not in FINISHES or not (tokens is None or (type(tokens) is int and tokens >= 0)):
                self._refuse(
                    f"{path}: id {case.id!r} has finish {finish!r} and num_tokens {tokens!r}; "
                    f"finish is one of {', '.join(FINISHES)}, num_tokens a count"
                )
            mine = self.texts[case.id]
            mine.append(Completion(case.id, len(mine), case.item.completion, finish, tokens))
            digest.update(repr((case.id, case.item.completion, finish, tokens)).encode("utf-8", "backslashreplace"))
        if not self.texts:
            self._refuse(f"{path}: holds no completion; give rows of id and completion")
        self.identity = {"completions": digest.hexdigest()}

    @staticmethod
    def _refuse(line: str) -> None:
        raise RecipeError(f"--completions: {line}")

    @property
    def least(self) -> int:
        """The fewest completions of a problem."""
        return min(map(len, self.texts.values()))

    def completions_of(self, eval_set: EvaluationSet, problem: Problem) -> list[Completion]:
        return self.texts.get(problem.id) or self.texts.get(problem.id.removeprefix(f"{eval_set.name}/"), [])

    def check(self, asking: Asking) -> None:
        """Every problem has n completions, and every completion a problem."""
        eval_set, n = asking.eval_set, asking.n
        ids, prefix = [problem.id for problem in eval_set.problems], f"{eval_set.name}/"
        known = {*ids, *(name.removeprefix(prefix) for name in ids)}
        strangers = [name for name in self.texts if name not in known]
        if strangers:
            self._refuse(
                f"{self.path}: {len(strangers)} ids are of no problem of {eval_set.name}, as {strangers[0]!r}; "
                f"the set's are as {eval_set.problems[0].id!r}"
            )
        counts = {problem.id: len(self.completions_of(eval_set, problem)) for problem in eval_set.problems}
        few = [name for name, count in counts.items() if count < n]
        if few:
            self._refuse(
                f"{self.path}: {len(few)} of {len(counts)} problems have fewer than {n} completions, as {few[0]!r} "
                f"with {counts[few[0]]}; add theirs, lower --n, or choose problems with --limit or --where"
            )
        many = [name for name, count in counts.items() if count != n]
        if many and len(set(counts.values())) > 1:
            self._refuse(
                f"{self.path}: problems have from {min(counts.values())} to {max(counts.values())} completions, and "
                f"the first {n} of each would be a choice; give every problem as many"
            )

    def prompt_of(self, problem: Problem) -> str | None:
        return None

    def misfit(self, problem: Problem, max_new_tokens: int) -> str | None:
        return None

    def answers(self, asking: Asking, rows: range, verify: Verify) -> Iterator[tuple[Completion, Verdict]]:
        started = []
        for row in rows:
            problem = asking.eval_set.problems[row]
            for index, held in enumerate(self.completions_of(asking.eval_set, problem)[: asking.n]):
                completion = Completion(problem.id, index, held.text, held.finish, held.num_tokens)
                started.append((completion, verify(completion, problem)))
        for completion, verdict in started:
            yield completion, verdict.result()

    def close(self) -> None: ...
