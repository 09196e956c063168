"""The environment of programs with tests that are seen: a turn's program is run against them; what failed is read.

The tests are the first of the problem's own, in MBPP's form ({test_list[, setup]}). An episode ends where they all
hold; whether the program is right is the verifier's word (`code`), which knows the others too. Each program is run in
the sandbox by itself, one run a test. A program that fools a test that it sees ends its own episode and gains nothing.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from r1lab.environments import python
from r1lab.environments.protocol import Turn
from r1lab.errors import RecipeError
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits
from r1lab_verifiers.code.program import NoProgram, extract_program


class HasSandbox(Protocol):
    """What episodes share (`r1lab.environments.host`)."""

    @property
    def sandbox(self) -> Sandbox: ...


class VisibleTests:
    """One problem's tests, as far as the model sees them."""

    role, replayable, is_confined, stop_after = "user", True, True, ()

    def __init__(
        self,
        problem: Problem,
        seed: int,
        visible: int = 1,
        call_seconds: float = 4.0,
        memory_mb: int = 512,
        *,
        means: HasSandbox | None = None,
    ):
        """visible: the first so many tests are seen; call_seconds: wall clock of a program with one test."""
        self.setup, self.tests = _tests_of(problem.answer, visible)
        self.prompt, self.seed, self.means = problem.prompt, derive(seed, "python"), means
        self.limits = Limits(seconds=call_seconds, memory_mb=memory_mb, output_bytes=1 << 20)

    @staticmethod
    def check(settings: Mapping[str, Any], what: str = "environment") -> None:
        """RecipeError for a setting out of range."""
        visible = settings.get("visible", 1)
        if isinstance(visible, bool) or not isinstance(visible, int) or visible < 1:
            raise RecipeError(f"{what}.visible: {visible!r}; give the number of tests that are seen, from 1 on")
        python.check_limits(settings, what)

    def reset(self) -> None:
        """The prompt says what is asked for."""

    def step(self, text: str) -> Turn:
        try:
            program = extract_program(text, self.prompt)
        except NoProgram as error:
            return Turn(f"error: {error}", info={"calls": 1, "failed_calls": 1})
        failed = [said for test in self.tests if (said := self._failure(program, test))]
        info = {"calls": len(self.tests), "failed_calls": len(failed)}
        return Turn("\n".join(failed), info=info) if failed else Turn(done=True, info=info)

    def _failure(self, program: str, test: str) -> str:
        """The test and what it said; empty where it holds."""
        assert self.means is not None  # an episode is played with the means to run programs
        run = python.PythonTool(self.means.sandbox, self.seed, self.limits, self.limits.seconds).run
        said, status = run("\n".join(part for part in (self.setup, program, test) if part))
        return "" if status == "ok" else f"{test}\n{said}"


def _tests_of(answer: Any, visible: int) -> tuple[str, list[str]]:
    """What stands before the tests, and those that are seen. ValueError for an answer of another form."""
    if isinstance(answer, str):
        try:
            answer = json.loads(answer)
        except ValueError:
            answer = None
    tests = answer.get("test_list") if isinstance(answer, Mapping) else None
    if not isinstance(tests, list | tuple) or not tests or not all(isinstance(test, str) for test in tests):
        raise ValueError("the answer is no {test_list: [assert ..., ...]}, whose first tests the model could see")
    return str(answer.get("setup") or ""), list(tests[:visible])
