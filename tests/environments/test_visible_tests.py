"""A program that fails a test that the model sees is told so; one that passes ends the episode; none gets out."""

import pytest

from r1lab.environments.resolve import resolve
from r1lab.environments.visible_tests import VisibleTests
from r1lab.errors import RecipeError
from r1lab_data import Problem

ANSWER = {"test_list": ["assert twice(2) == 4", "assert twice(3) == 6"], "setup": "import math"}


def program(body, fence="python"):
    return f"Here it is:\n```{fence}\n{body}\n```\n"


@pytest.fixture
def play(host):
    """play(*turns) -> what was answered to each."""

    def played(*turns, answer=ANSWER, **settings):
        world = host.world(resolve("visible_tests", settings), Problem("p", "Double it.", answer), 5, "k", 0)
        begun = world.start().result()
        return [world.step(turn).result() for turn in turns] if isinstance(begun, dict) else begun

    return played


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("turn", "told", "settings"),
    [
        (program("def twice(x):\n    return x + 1"), "assert twice(2) == 4\nline", {}),
        (program("def twice(x):\n    return x + 1"), "AssertionError", {}),
        (program("def twice(x): return 4"), "assert twice(3) == 6", {"visible": 2}),
        (program("def half(x): return x"), "NameError: name 'twice' is not defined", {}),
        (program("def twice(x) return x"), "SyntaxError", {}),
        (program("while True: pass"), "too slow", {"call_seconds": 0.5}),
        (program("x = bytearray(1 << 30)"), "MemoryError", {"memory_mb": 200}),
        (program("import os\nos._exit(0)"), "the program ended its own process", {}),
        ("I do not know.", "error: ", {}),
        ("", "error: ", {}),
        ("```python\ndef twice(x):\n    return 2 * x", None, {}),
        (program("def twice(x): return 4"), None, {}),  # all that it sees; the others are the verifier's
        (program("def twice(x): return math.floor(2 * x)"), None, {}),
        (program("raise SystemExit(0)"), None, {}),  # fools what it sees, and ends its episode by that
    ],
)
def test_what_fails_is_read_and_what_holds_ends_the_episode(play, turn, told, settings):
    (answer,) = play(turn, **settings)
    assert answer["done"] == (told is None) and (told or "") in (answer["observation"] or "")
    assert answer["info"]["failed_calls"] == (told is not None)


@pytest.mark.sandbox
def test_a_program_is_run_without_those_before_it(play):
    first, second = play(program("def more(x): return x + 1"), program("def twice(x): return more(x) + 1"))
    assert "'twice' is not defined" in first["observation"] and "'more' is not defined" in second["observation"]


@pytest.mark.parametrize(
    "answer", ["42", 42, None, {"inputs": [1]}, {"test_list": []}, {"test_list": [1]}, "[", '{"a": 1}']
)
def test_a_problem_without_such_tests_is_an_error_of_nobodys_program(play, answer):
    broken = play("x", answer=answer)
    assert broken.status == "error" and "test_list" in broken.reason


@pytest.mark.parametrize("answer", [ANSWER, '{"test_list": ["assert twice(2) == 4"]}'])
def test_tests_are_read_as_a_mapping_or_its_json(answer):
    assert VisibleTests(Problem("p", "?", answer), 0, visible=9).tests[0] == "assert twice(2) == 4"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"visible": 0}, "visible: 0"), ({"visible": True}, "visible: True"), ({"visible": "all"}, "visible: 'all'"),
        ({"call_seconds": -1}, "environment.call_seconds -1"),
        ({"call_seconds": None}, "environment.call_seconds None"),
        ({"memory_mb": 0}, "memory_mb"), ({"seen": 2}, "no setting 'seen'"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_before_the_run(settings, told):
    with pytest.raises(RecipeError, match=told):
        resolve("visible_tests", settings)
