"""The verifier `code`: runs the completion's program in a sandbox and compares its outputs with the tests, outside.

Expected values never enter the jail; what leaves it is text or plain JSON values. `error` comes of tests that cannot be
run, never of a program. Without isolation it refuses to start. Settings are those of the problem's answer where that
states its own.
"""

import asyncio
import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

from r1lab_sandbox.box import KINDS, WORKERS, Sandbox
from r1lab_sandbox.records import Limits
from r1lab_verifiers.code import program, run
from r1lab_verifiers.code.plan import BadTests, ProgramTests, read_tests, telling_order
from r1lab_verifiers.code.run import Result
from r1lab_verifiers.verdict import Item, Verdict

CREDITS = ("tests", "all")
MAX_REMEMBERED_VERDICTS = 4096


@dataclass
class Code:
    """Python programs against tests; the forms of the answer are in `r1lab_verifiers.code.plan` and
    `r1lab_data.programs`."""

    time_limit: float = 4.0
    """Seconds of one test."""
    memory_mb: int = 512
    """Memory of one run, all its processes together where control groups can be had."""
    processes: int = 48
    """Processes and threads of one run."""
    credit: str = "tests"
    """`tests`: the score is the share of tests passed. `all`: 1 where all pass, else 0; the first failure ends it."""
    float_tol: float | None = None
    """Numbers within this, relative or absolute, are equal; None: only where the problem says so."""
    packages: tuple = ("numpy",)
    """What programs may import besides the standard library."""
    isolation: str = "auto"
    """`auto`, `namespaces` or `bubblewrap`; what does not work is refused. `none`: no walls
    (`r1lab_sandbox.backends.bare`)."""
    workers: str = "local"
    """Where programs run: `local`, or `ray` for the machines of the cluster that RAY_ADDRESS names."""
    slots: int = 0
    """Runs at once; 0: one for each core."""

    isolated: ClassVar[bool] = True
    deadline: ClassVar[float] = 3600.0
    """For the pool: each run ends by its own limits long before."""

    def __post_init__(self):
        if self.credit not in CREDITS:
            raise ValueError(f"code: credit {self.credit!r}; allowed: {', '.join(CREDITS)}")
        if self.isolation not in KINDS:
            raise ValueError(f"code: isolation {self.isolation!r}; allowed: {', '.join(KINDS)}")
        if self.workers not in WORKERS:
            raise ValueError(f"code: workers {self.workers!r}; allowed: {', '.join(WORKERS)}")
        if not isinstance(self.slots, int) or not 0 <= self.slots <= 1024:
            raise ValueError(f"code: slots {self.slots!r}; give 0 (one for each core) or a number up to 1024")
        if isinstance(self.packages, str) or not all(isinstance(name, str) for name in self.packages):
            raise ValueError(f"code: packages {self.packages!r}; give a list of names")
        try:
            self._limits = Limits(seconds=self.time_limit, memory_mb=self.memory_mb, processes=self.processes)
        except ValueError as error:
            told = str(error).removeprefix("limit ")
            raise ValueError(f"code: {told.replace('seconds', 'time_limit', 1)}") from None
        self._box: Sandbox | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._known: OrderedDict[tuple, Verdict] = OrderedDict()
        self._outputs: OrderedDict[tuple, list] = OrderedDict()
        self._running: dict[tuple, asyncio.Future] = {}

    def start(self) -> Sandbox:
        """The sandbox, made once; raises SandboxError where there is no isolation."""
        if self._box is None:
            given = {"packages": self.packages, "backend": self.isolation, "workers": self.workers}
            self._box = Sandbox(slots=self.slots or None, **given)
            self._threads = ThreadPoolExecutor(self._box.slots, thread_name_prefix="verify-code")
        return self._box

    def close(self) -> None:
        """Stop waiting programs; close the sandbox."""
        if self._box is not None and self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._box.close()

    async def verify(self, item: Item) -> Verdict:
        """Equal programs for one problem are run once."""
        try:
            text = program.extract_program(item.completion, item.prompt)
        except program.NoProgram as error:
            return Verdict(0.0, "no_answer", reason=str(error))
        key = _key(item, text)
        if key in self._known:
            return self._known[key]
        if key not in self._running:
            self.start()
            loop = asyncio.get_running_loop()
            self._running[key] = loop.run_in_executor(self._threads, self.run_and_compare, text, item)
            self._running[key].add_done_callback(lambda done: self._remember(key, done))
        # shielded: another item may wait for the same run
        return await asyncio.shield(self._running[key])

    def run_and_compare(self, text: str, item: Item) -> Verdict:
        """The verdict on a program; blocks. SandboxError where the sandbox itself fails."""
        box = self.start()
        try:
            problem_tests = read_tests(item.answer, prompt=item.prompt, float_tol=self.float_tol)
            limits = self._limits_of(problem_tests)
        except (BadTests, ValueError) as error:
            return Verdict(None, "error", reason=f"code: {error}")
        if problem_tests.entry:
            text = program.complete_with_prompt(text, problem_tests.entry, problem_tests.prompt)
        try:
            if problem_tests.reference:
                problem_tests = self._with_outputs(box, problem_tests, problem_tests.reference, limits, _key(item, ""))
            results = self._run(box, text, problem_tests, limits)
        except BadTests as error:
            return Verdict(None, "error", reason=f"code: {error}")
        return self._verdict(results, problem_tests, text)

    def witness(self, answer: str | dict) -> str:
        """A program that does nothing: enough to see whether its problem can be judged."""
        return "```python\npass\n```"

    def check(self, answer: object) -> str | None:
        """Why a problem's tests cannot be run, as far as can be told without running them; None: they can be read."""
        try:
            self._limits_of(read_tests(answer, float_tol=self.float_tol))
        except ValueError as error:
            return str(error)
        return None

    def _run(self, box: Sandbox, text: str, problem_tests: ProgramTests, limits: Limits) -> list[Result]:
        stop = self.credit == "all"
        if problem_tests.texts:
            order = telling_order(problem_tests) if stop else range(problem_tests.num_tests)
            return run.run_texts(box, text, problem_tests, limits, order, stop)
        if problem_tests.calls:
            calls = problem_tests.calls
            if stop:
                place = {test: rank for rank, test in enumerate(telling_order(problem_tests))}
                calls = tuple(sorted(calls, key=lambda call: place[call.test]))
            unwrap, header = problem_tests.can_unwrap, problem_tests.header
            return run.run_calls(box, text, calls, problem_tests.rule, limits, unwrap, stop, header)
        return run.run_tests(box, text, problem_tests, limits)

    def _with_outputs(
        self, box: Sandbox, problem_tests: ProgramTests, reference: str, limits: Limits, key: tuple
    ) -> ProgramTests:
        """The tests with what their reference gives as the expected values; computed once for each problem."""
        if key not in self._outputs:
            self._outputs[key] = run.reference_values(box, reference, problem_tests.calls, limits)
            _shorten(self._outputs)
        expected = zip(problem_tests.calls, self._outputs[key])
        return replace(problem_tests, calls=tuple(replace(call, expected=value) for call, value in expected))

    def _limits_of(self, problem_tests: ProgramTests) -> Limits:
        stated = {
            "seconds": problem_tests.time_limit,
            "memory_mb": problem_tests.memory_mb and int(problem_tests.memory_mb),
        }
        return replace(self._limits, **{name: value for name, value in stated.items() if value})

    def _verdict(self, results: list[Result], problem_tests: ProgramTests, text: str) -> Verdict:
        """`wrong`, `crash` or `timeout` is that of the first test that failed."""
        failed: dict[int, Result] = {}
        for result in results:
            if not result.is_passed:
                failed.setdefault(result.test, result)
        num_tests = max(problem_tests.num_tests, 1 + max((result.test for result in results), default=0))
        passed = {result.test for result in results} - set(failed)
        wanted, came = Counter(call.test for call in problem_tests.calls), Counter(result.test for result in results)
        complete = {test for test in passed if came[test] == (wanted[test] if problem_tests.calls else 1)}
        if len(complete) == num_tests:
            return Verdict(1.0, "correct", text, f"{num_tests} of {num_tests} tests")
        first = next(iter(failed.values()), Result(0, "crash", "a test was not reached"))
        score = len(complete) / num_tests if self.credit == "tests" else 0.0
        reason = f"{len(complete)} of {num_tests} tests; test {first.test}: {first.note or first.status}"
        return Verdict(score, first.status, text, reason)  # pyright: ignore[reportArgumentType]  not `passed`: it failed

    def _remember(self, key: tuple, done: asyncio.Future) -> None:
        """Keep a verdict for equal programs; not a timeout, which a busy machine may have caused."""
        self._running.pop(key, None)
        if done.cancelled() or done.exception() is not None or done.result().status == "timeout":
            return
        self._known[key] = done.result()
        _shorten(self._known)


def _shorten(known: OrderedDict) -> None:
    """Forget the oldest."""
    if len(known) > MAX_REMEMBERED_VERDICTS:
        known.popitem(last=False)


def _key(item: Item, text: str) -> tuple:
    answer = json.dumps(item.answer, sort_keys=True, default=repr) if isinstance(item.answer, Mapping) else item.answer
    digest = hashlib.blake2b(str(answer).encode("utf-8", "replace"), digest_size=16)
    digest.update(text.encode("utf-8", "replace"))
    return item.problem_id, digest.digest(), str(item.prompt)[:1000]
