"""Runs a program against a problem's tests in sandboxes and compares outside. Which tests passed, no verdict.

Expected outputs stay here. A test holds where the program gave the right value and the run it was in ended by itself,
with exit code 0 and within its limits.
"""

import ast
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from r1lab_sandbox.box import Sandbox, Session
from r1lab_sandbox.inside import values
from r1lab_sandbox.records import Limits, Outcome, Program
from r1lab_verifiers.code import compare, offered
from r1lab_verifiers.code.lift import LiftedCall
from r1lab_verifiers.code.plan import BadTests, ProgramTests

MAX_FAILED_RUNS = 2
"""Runs of a submission that may hit a limit or end early before its remaining tests are given up."""
MAX_TURNS = 10
"""The time of a conversation whose turns are not known before: of so many, or of one for each test."""
SAID = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
"""What a checker prints."""
MIN_OUTPUT_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 22
MAX_SURPLUS_BYTES = 1 << 22
"""Of all values of a program together, beyond what the expected ones need: they are read in this process."""


@dataclass(frozen=True)
class Result:
    """The outcome of one test."""

    test: int
    status: str
    """`passed`, or a status of a verdict: wrong, crash, timeout."""
    note: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether the test holds."""
        return self.status == "passed"


def run_texts(
    box: Sandbox, source: str, problem_tests: ProgramTests, limits: Limits, tests: Iterable[int], stop: bool
) -> list[Result]:
    """A run for each test of standard input; `stop` at the first that fails."""
    results, num_limits = [], 0
    for test in tests:
        given, expected = problem_tests.texts[test]
        room = max(MIN_OUTPUT_BYTES, 2 * len(expected.encode("utf-8", "replace")) + 65536)
        outcome = box.run(
            Program(source, stdin=given.encode("utf-8", "replace"), extra=problem_tests.header),
            replace(limits, output_bytes=room),
        )
        result = _text_result(box, problem_tests, test, outcome, limits)
        results.append(result)
        num_limits += outcome.is_limit
        if num_limits >= MAX_FAILED_RUNS or (stop and not result.is_passed):
            break
    return results


def _text_result(box: Sandbox, problem_tests: ProgramTests, test: int, outcome: Outcome, limits: Limits) -> Result:
    if outcome.status != "ok":
        return lost_test(test, outcome)
    given, expected = problem_tests.texts[test]
    if problem_tests.checker is None:
        is_right = compare.same_text(outcome.stdout, expected, problem_tests.rule)
    else:
        is_right = _is_accepted(box, problem_tests.checker, given, expected, outcome.stdout, limits)
    return Result(test, "passed") if is_right else Result(test, "wrong", _shown(outcome.stdout))


def _is_accepted(box: Sandbox, checker: str, given: str, expected: str, printed: bytes, limits: Limits) -> bool:
    """A checker that fails is to blame only where it fails on the expected output too; else what was printed is."""
    try:
        return run_checker(box, checker, (given, expected, printed), limits)
    except BadTests:
        run_checker(box, checker, (given, expected, expected.encode("utf-8", "replace")), limits)
        return False


def run_checker(box: Sandbox, checker: str, texts: tuple[str, str, bytes], limits: Limits) -> bool:
    """Whether a checker, in a jail of its own, accepts an output. BadTests where the checker itself fails, or says
    anything but yes or no: a text that it gives may be the program's own.

    Two forms: a script given the files input.txt, correct_output.txt and solution_output.txt, which prints 1 or 0, true
    or false, and nothing else; or a module with check(input, output, expected), which returns one of these.
    """
    given, expected, printed = texts
    shown = printed.decode("utf-8", "replace")
    files = {"input.txt": given, "correct_output.txt": expected, "solution_output.txt": shown}
    if any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in ast.parse(checker).body):
        try:
            call = LiftedCall(0, "check", [given, shown, expected], {}, compare.TRUE)
            (said,) = reference_values(box, checker, (call,), limits)
        except BadTests as error:
            raise BadTests(str(error).replace("the reference", "the checker", 1)) from None
        if not isinstance(said, bool | int | float) or said not in (0, 1):
            raise BadTests(f"the checker fails: it returns {str(said)[:60]!r}, not True or False")
        return said == 1
    outcome = box.run(Program(checker, argv=tuple(files), files=files), limits)
    if outcome.status != "ok":
        raise BadTests(f"the checker fails: {_told(outcome)}")
    word = outcome.stdout.decode("utf-8", "replace").strip().lower()
    if word not in SAID:
        raise BadTests(f"the checker fails: it prints {word[:60]!r}, not 1 or 0")
    return SAID[word]


def run_calls(
    box: Sandbox, source: str, calls: tuple[LiftedCall, ...], rule: compare.Rule, limits: Limits,
    can_unwrap: bool = False, stop: bool = False, header: dict | None = None,
) -> list[Result]:  # fmt: skip
    """One process for all calls; where it ends early, another one for those that were not yet made."""
    results: list[Result] = []
    num_lost = 0
    left = MAX_SURPLUS_BYTES + sum(map(_size, calls))
    while len(results) < len(calls) and num_lost < MAX_FAILED_RUNS:
        rest = calls[len(results) :]
        nonces = [secrets.token_hex(8) for _ in rest]
        messages = tuple(_message(call, nonce) for call, nonce in zip(rest, nonces))
        room = MAX_SURPLUS_BYTES + max(map(_size, rest))
        whole = limits.seconds * len(rest)
        turn = replace(limits, seconds=whole, turn_seconds=limits.seconds, output_bytes=room)
        outcome = box.run(Program(source, kind="serve", messages=messages, extra=header or {}), turn)
        finished = []
        for call, nonce, reply in zip(rest, nonces, outcome.replies[1:]):
            left -= len(reply)
            finished.append(
                _call_result(call, nonce, reply, rule, can_unwrap) if left >= 0
                else Result(call.test, "wrong", "values far larger than the expected ones")
            )  # fmt: skip
        is_early = len(finished) < len(rest)
        if is_early:
            finished.append(lost_test(rest[len(finished)].test, outcome))
        elif outcome.status != "ok":
            finished = [lost_test(call.test, outcome) for call in rest]
        results += finished
        num_lost += is_early
        if is_early and not outcome.replies:  # not even its definitions ran to their end
            break
        if stop and not all(result.is_passed for result in finished):
            break
    return results


def _size(call: LiftedCall) -> int:
    """Bytes that a reply may need which gives what is expected: JSON writes some characters as twelve."""
    return 16 * len(repr(call.expected)) + 256


def reference_values(box: Sandbox, reference: str, calls: tuple[LiftedCall, ...], limits: Limits) -> list[object]:
    """What a problem's own reference gives. BadTests where it does not give a plain value for every call."""
    nonces = [secrets.token_hex(8) for _ in calls]
    program = Program(reference, kind="serve", messages=tuple(map(_message, calls, nonces)))
    outcome = box.run(program, replace(limits, seconds=limits.seconds * len(calls), turn_seconds=limits.seconds))
    if outcome.status != "ok" or len(outcome.replies) != 1 + len(calls):
        raise BadTests(f"the reference fails: {lost_test(0, outcome).note}")
    replies: list[Any] = [_said(*each) or {} for each in zip(outcome.replies[1:], nonces)]
    odd = next((reply for reply in replies if "value" not in reply), None)
    if odd is not None:
        raise BadTests(f"the reference fails: {odd.get('raised') or odd.get('odd')}")
    return [values.decode(reply["value"]) for reply in replies]


def _message(call: LiftedCall, nonce: str) -> bytes:
    sent = {"nonce": nonce, "name": call.name, "args": values.encode(call.args), "kwargs": values.encode(call.kwargs)}
    return json.dumps(sent).encode()


def _call_result(call: LiftedCall, nonce: str, reply: bytes, rule: compare.Rule, can_unwrap: bool) -> Result:
    try:
        answer = _said(reply, nonce)
    except values.NotPlain as error:
        return Result(call.test, "wrong", str(error))
    if answer is None:
        return Result(call.test, "wrong", "an answer that was not asked for")
    if "raised" in answer:
        return Result(call.test, "crash", str(answer["raised"])[:200])
    if "value" not in answer:
        return Result(call.test, "wrong", str(answer.get("odd", "no value"))[:200])
    value = answer["value"]
    is_right = compare.assertion_holds(value, call.how, call.expected, rule)
    if not is_right and can_unwrap and isinstance(call.expected, list) and len(call.expected) == 1:
        is_right = compare.assertion_holds(value, call.how, call.expected[0], rule)
    return Result(call.test, "passed") if is_right else Result(call.test, "wrong", json.dumps(value)[:100])


def _said(reply: bytes, nonce: str) -> dict[str, Any] | None:
    """What a program answered, undecoded; None where it did not answer this question."""
    answer = values.tree(reply) if reply.startswith(_beginning(nonce)) else None
    return answer if isinstance(answer, dict) else None


def _beginning(nonce: str) -> bytes:
    """How every answer to a question begins: seen without reading what else a program says."""
    return f'{{"nonce": "{nonce}"'.encode()


def run_tests(box: Sandbox, source: str, problem_tests: ProgramTests, limits: Limits) -> list[Result]:
    """Test code in one jail, the program in another; only plain values go between them."""
    num_turns = max(MAX_TURNS, problem_tests.num_tests)
    whole = replace(limits, seconds=limits.seconds * num_turns, turn_seconds=limits.seconds)
    with box.converse(Program(source, kind="serve"), whole) as program:
        ready = _told_ready(program)
        if ready is None:
            return [lost_test(test, program.close()) for test in range(problem_tests.num_tests)]
        extra = {**problem_tests.extra, "names": offered.names(problem_tests, ready)}
        tests = Program(problem_tests.source, kind="tests", extra=extra)
        with box.converse(tests, whole) as session:
            results = _relay(session, program, problem_tests)
            ending = session.close()
        outcome = program.close()
    if results is None:
        lost = outcome if outcome.status != "ok" or program.heard is None else ending
        return [lost_test(test, lost) for test in range(problem_tests.num_tests)]
    if outcome.status != "ok":
        return [lost_test(result.test, outcome) for result in results]
    return results


def _told_ready(program: Session) -> dict[str, str] | None:
    """Names and kinds of what the program defines, as far as it can be believed."""
    if program.heard is None or len(program.heard) > MIN_OUTPUT_BYTES:
        return None if program.heard is None else {}
    try:
        said = values.tree(program.heard)
        names = said["names"] if isinstance(said, dict) and isinstance(said.get("names"), dict) else None
    except values.NotPlain:
        return None
    return names if names and all(isinstance(kind, str) for kind in names.values()) else {}


def _relay(tests: Session, program: Session, problem_tests: ProgramTests) -> list[Result] | None:
    """Carry questions and answers; the results of the tests, or None where one side ended first."""
    while tests.heard is not None:
        message = json.loads(tests.heard)
        if "done" in message:
            return _counted(message["done"], problem_tests)
        nonce = secrets.token_hex(8)
        reply = program.say(json.dumps({**message, "nonce": nonce}).encode())
        if reply is None:
            return None
        is_asked_for = reply.startswith(_beginning(nonce)) and len(reply) <= MAX_LINE_BYTES
        tests.say(reply if is_asked_for else b"{}")
    return None


def _counted(done: list, problem_tests: ProgramTests) -> list[Result]:
    broken = next((note for _, status, note in done if status == "broken"), None)
    if broken is not None:
        raise BadTests(broken)
    return [Result(number, "passed" if passed is True else status, note)
            for number, (passed, status, note) in enumerate(done)]  # fmt: skip


def lost_test(test: int, outcome: Outcome) -> Result:
    """A test lost to how its run ended."""
    if outcome.is_limit:
        is_slow = outcome.status == "timeout"
        return Result(test, "timeout", "too slow" if is_slow else f"over its {outcome.status} limit")
    return Result(test, "crash", _told(outcome))


def _told(outcome: Outcome) -> str:
    """The last line of stderr, or how the run ended."""
    lines = outcome.stderr.decode("utf-8", "replace").strip().splitlines()
    if outcome.status == "killed":
        return f"killed by signal {outcome.signal}"
    if outcome.status == "ok":
        return "ended before it answered"
    return lines[-1][:200] if lines else f"exit code {outcome.exit_code}"


def _shown(printed: bytes) -> str:
    text = printed[:200].decode("utf-8", "replace")
    return "printed " + repr(text)[:120]
