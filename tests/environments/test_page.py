"""What the page shows runs as written."""

import re
import sys
from pathlib import Path

import pytest

from r1lab.environments.host import Host
from r1lab.environments.resolve import resolve
from r1lab_data import Problem

PAGE = (Path(__file__).resolve().parents[2] / "r1lab" / "environments" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for text in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        name = re.match(r"# (\w+\.py)", text)[1]
        (folder / name).write_text(text, encoding="utf-8")
    sys.path.append(str(folder))
    made = Host(workers=1, deadline=5.0, memory_mb=1024, import_paths=(str(folder),))
    yield made
    made.close()
    sys.path.remove(str(folder))


def test_the_environment_in_ten_lines(host):
    world = host.world(resolve("mygame:Doubling", {"goal": 8}), Problem("p", "", "2"), 0, "k", 0)
    assert world.start().result()["observation"] == "The number is 2."
    assert [world.step(text).result()["observation"] for text in ("no", "double it")] == ["It is 2.", "It is 4."]
    assert world.step("double").result()["done"] and world.end().result()["verdict"]["status"] == "correct"


def test_the_tool_in_five_in_each_of_its_forms(host):
    world = host.world(resolve("tools", {"tools": ["shapes:area"]}), Problem("p", "", "2"), 0, "t", 0)
    world.start().result()
    forms = re.findall(r"^    (<tool.*?</tool(?:_call)?>)", PAGE, re.MULTILINE)
    assert len(forms) == 3
    assert [world.step(form).result()["observation"] for form in forms] == ["12"] * 3


def test_a_class_of_trl_as_it_is(host):
    world = host.world(resolve("wordgame:WordGame", {}, "trl"), Problem("p", "", "tree"), 0, "w", 0)
    assert world.start().result()["observation"] == "A word of 4 letters."
    assert world.step("<tool>guess('tree')</tool>").result()["observation"] == "right"
    assert world.step("done").result()["reward"] == 1.0 and world.end().result()["verdict"]["score"] == 1.0
