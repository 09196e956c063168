"""Environments of other trainers are played as they are."""

import sys

import pytest

from r1lab.environments.host import Host
from r1lab.environments.pool import Broken
from r1lab.environments.resolve import resolve
from r1lab.errors import RecipeError
from r1lab_data import Problem

THEIRS = '''
from dataclasses import dataclass

class WordGame:
    """As in TRL's documentation: an `environment_factory`."""

    def reset(self, secret: str = "", **kwargs) -> str:
        self.secret, self.reward = secret, 0.0
        return f"a word of {len(secret)} letters"

    def guess(self, word: str) -> str:
        """Guess the word.

        Args:
            word: the guess
        """
        if len(word) != len(self.secret):
            raise ValueError("another length")
        self.reward = float(word == self.secret)
        return "right" if self.reward else "wrong"

    def get_reward(self) -> float:
        return self.reward

class Mute(WordGame):
    get_reward = None

class Careful(WordGame):
    """What is no method of it is no tool: a property that fails before `reset`, a function held, a static one."""

    def __init__(self):
        self.held = lambda word: word

    @property
    def letters(self):
        return len(self.secret)

    @staticmethod
    def outside(word: str) -> str:
        """Not of a game."""

    @classmethod
    def rules(cls) -> str:
        """Tell the rules."""
        return cls.__name__

class Untold:
    def reset(self):
        return None

    def act(self, x):
        """No hint."""

@dataclass
class Move:
    message: str

@dataclass
class Seen:
    text: str

@dataclass
class Result:
    observation: object
    reward: float | None = None
    done: bool = False

class Client:
    """As a client of OpenEnv."""

    def reset(self):
        return Result(Seen("hello"))

    def step(self, move):
        if move.message == "fail":
            raise ConnectionError("gone")
        return Result(Seen(f"heard {move.message}"), reward=0.25, done=move.message == "bye")

    def close(self):
        pass
'''
PROBLEM = Problem("p", "?", "tree", meta={"secret": "tree", "other": 1})


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "theirs_of_tests.py").write_text(THEIRS, encoding="utf-8")
    sys.path.append(str(folder))
    made = Host(workers=1, deadline=5.0, memory_mb=1024, import_paths=(str(folder),))
    yield made
    made.close()
    sys.path.remove(str(folder))


def test_a_trl_factory_is_reset_with_the_row_and_its_methods_are_tools(host):
    environment = resolve("theirs_of_tests:WordGame", {}, "trl")
    world = host.world(environment, PROBLEM, 0, "k", 0)
    assert [tool.name for tool in environment.tools] == ["guess"] and environment.has_verdict
    assert world.start().result()["observation"] == "a word of 4 letters"
    wrong = world.step('<tool_call>{"name": "guess", "arguments": {"word": "bush"}}</tool_call>').result()
    assert wrong["observation"] == "wrong" and wrong["info"] == {"calls": 1, "failed_calls": 0}
    failed = world.step("<tool>guess('x')</tool><tool>guess(1)</tool>").result()
    assert failed["observation"].startswith("error: ValueError: another length\nerror: guess: argument 'word' is '1'")
    world.step("<tool>guess('tree')</tool>").result()
    last = world.step("I am done").result()
    assert last["done"] and last["reward"] == 1.0
    assert world.end().result()["verdict"]["status"] == "correct"


def test_the_tools_that_are_told_of_are_those_that_run(host):
    environment = resolve("theirs_of_tests:Careful", {}, "trl")
    assert [tool.name for tool in environment.tools] == ["guess", "rules"]
    world = host.world(environment, PROBLEM, 0, "c", 0)
    world.start().result()
    said = world.step("<tool>rules()</tool><tool>outside('x')</tool><tool>guess('tree')</tool>").result()["observation"]
    assert said == "Careful\nerror: no tool 'outside'; there are guess, rules\nright"


def test_an_openenv_client_is_stepped_with_its_own_actions(host):
    environment = resolve("theirs_of_tests:Client", {"action": "theirs_of_tests:Move", "show": "text"}, "openenv")
    assert not environment.replayable and not environment.has_verdict
    world = host.world(environment, PROBLEM, 0, "o", 0)
    assert world.start().result()["observation"] == "hello"
    assert world.step("yes").result() == {"observation": "heard yes", "done": False, "reward": 0.25, "info": {}}
    assert world.step("bye").result()["done"] and world.end().result() == {"verdict": None}


def test_a_client_that_fails_is_an_error(host):
    environment = resolve("theirs_of_tests:Client", {"action": "theirs_of_tests:Move", "show": "text"}, "openenv")
    world = host.world(environment, PROBLEM, 0, "f", 0)
    world.start().result()
    answer = world.step("fail").result()
    assert isinstance(answer, Broken) and answer.status == "error" and "ConnectionError" in answer.reason


@pytest.mark.parametrize(
    ("use", "settings", "adapter", "why"),
    [
        ("theirs_of_tests:Untold", {}, "trl", "no type hint for 'x'"),
        ("theirs_of_tests:Result", {}, "trl", "has no reset"),
        ("theirs_of_tests:WordGame", {"size": 3}, "trl", "has no setting 'size'"),
        ("theirs_of_tests:Client", {"action": "theirs_of_tests:Nothing"}, "openenv", "does not import"),
        ("theirs_of_tests:WordGame", {}, "", "has no step"),
        ("theirs_of_tests:Gone", {}, "", "does not import"),
        ("gess", {}, "", "did you mean 'guess'"),
        ("guess", {"most": 3}, "", "has no setting 'most'; its settings: low, high"),
        ("tools", {}, "", "must be a list such as"),
    ],
)
def test_what_is_no_environment_is_refused(host, use, settings, adapter, why):
    with pytest.raises(RecipeError, match=why):
        resolve(use, settings, adapter)


def test_a_factory_without_a_reward_has_no_verdict(host):
    assert not resolve("theirs_of_tests:Mute", {}, "trl").has_verdict
