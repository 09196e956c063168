"""Programs that try to pass without being right, or to do harm: classes of attacks, several variants each."""

import re
from pathlib import Path

import pytest

from r1lab_sandbox.backends import bubblewrap
from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

pytestmark = pytest.mark.sandbox
STDIN = {"inputs": ["3 4\n", "10 -2\n", "0 0\n"], "outputs": ["7", "8", "0"]}
CALLS = {"fn_name": "add", "inputs": [[3, 4], [10, -2], [0, 0]], "outputs": [7, 8, 0]}
CHECK = """def check(candidate):
    assert candidate(3, 4) == 7
    assert candidate(0, 0) == 0
"""
LOOP = """def check(candidate):
    for a in range(1, 3):
        assert candidate(a, a) == 2 * a
"""
PYTEST = """from solution import add
def test_a():
    assert add(3, 4) == 7
def test_b():
    x = add(1, 1)
    assert x == 2
"""
ASSERTS = {"test_list": ["assert add(3, 4) == 7", "assert set([add(1, 1)]) == {2}"]}
AMPLE = {"time_limit": 5.0}
"""For what must come to its end also on a busy machine."""
FORMS = (CALLS, {"entry_point": "add", "test": CHECK}, {"entry_point": "add", "test": LOOP}, {"test": PYTEST}, ASSERTS)


def attacks(name: str) -> dict[str, str]:
    """The programs of a file, by the names that stand before them."""
    text = (Path(__file__).parent / "attacks" / f"{name}.txt").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("=== ")[1:])
    return {title: program.rstrip("\n") + "\n" for title, _, program in parts}


FUNCTIONS = attacks("functions")
"""Of `add(a, b)`."""
PROGRAMS = attacks("programs")
"""That read two numbers and print their sum."""


BACKENDS = ["namespaces", *([pytest.param("bubblewrap", marks=pytest.mark.slow)] if bubblewrap.find() else [])]


@pytest.fixture(scope="module", params=BACKENDS)
def judge(request):
    settings = {"use": "code", "time_limit": 0.3, "isolation": request.param}
    with Pool({"code": resolve(settings)}, workers=2) as pool:
        yield lambda text, *answers: [
            future.result(160) for future in
            [pool.submit(Item(f"```python\n{text}\n```", answer), "code") for answer in answers]
        ]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_wrong_function_passes_a_test_in_any_form(judge, name):
    for answer, verdict in zip(FORMS, judge(FUNCTIONS[name], *FORMS)):
        assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout", "crossing"), (answer, verdict)


def test_a_right_function_passes_every_form(judge):
    verdicts = judge("def add(a, b): return a + b", *({**answer, **AMPLE} for answer in FORMS))
    assert [verdict.status for verdict in verdicts] == ["correct"] * len(FORMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_wrong_program_passes_a_test(judge, name):
    (verdict,) = judge(PROGRAMS[name], STDIN)
    assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout", "no_answer"), verdict
    assert re.fullmatch(r"[^\x1b\x00]*", verdict.reason), verdict.reason


def test_constant_answers_get_what_they_deserve(judge):
    calls = CALLS | AMPLE
    assert judge("print(7)", STDIN | AMPLE)[0].score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return 7", calls)[0].score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return a + b if a else None", calls)[0].score == pytest.approx(2 / 3)


def test_a_function_that_changes_its_arguments_does_not_change_what_is_expected(judge):
    answer = {"fn_name": "f", "inputs": [[[3, 1]]], "outputs": [[1, 3]], **AMPLE}
    assert judge("def f(x):\n    x.clear()\n    return x", answer)[0].score == 0
    in_place = {"test_list": ["x = [3, 1]\nf(x)\nassert x == [1, 3]"], **AMPLE}
    assert judge("def f(x): x.sort()", in_place)[0].score == 1
    assert judge("def f(x): x.reverse()\n", in_place)[0].score == 1
    assert judge("def f(x): x.clear()", in_place)[0].score == 0


@pytest.mark.slow
@pytest.mark.skipif(bubblewrap.find() is None, reason="bubblewrap is not installed")
def test_a_part_of_them_passes_no_test_under_bubblewrap_either():
    settings = {"use": "code", "time_limit": 0.3, "isolation": "bubblewrap"}
    with Pool({"code": resolve(settings)}, workers=2) as pool:
        programs = [*((text, FORMS[number % len(FORMS)]) for number, text in enumerate(FUNCTIONS.values())),
                    *((text, STDIN) for text in PROGRAMS.values())][::9]  # fmt: skip
        futures = [pool.submit(Item(f"```python\n{text}\n```", answer), "code") for text, answer in programs]
        for (text, _), future in zip(programs, futures):
            verdict = future.result(160)
            assert verdict.score == 0 and verdict.status not in ("error", "correct"), (text, verdict)
