"""Environments of tests as modules that workers can import, and a host for them."""

import sys

import pytest

from r1lab.environments.host import Host

WORLDS = '''
import os, random, time
from r1lab.environments.protocol import Turn

class Counter:
    """Counts its turns; what some texts make it do."""

    def __init__(self, problem, seed, scale=1):
        self.problem, self.seed, self.scale, self.turns = problem, seed, scale, 0

    def reset(self):
        return None

    def step(self, text):
        self.turns += 1
        if text == "hang":
            time.sleep(60)
        if text == "die":
            os._exit(3)
        if text == "raise":
            raise ValueError("no such move")
        if text == "eat":
            self.kept = bytearray(4 << 30)
        if text == "no turn":
            return "a text"
        if text == "nan":
            return Turn("x", reward=float("nan"))
        if text == "draw":
            return Turn(f"{random.random():.6f}")
        if text == "pid":
            return Turn("here", info={"pid": os.getpid()})
        if text == "long":
            return Turn("x" * 300_000, info={"deep": [1], "n": 2, "verdict": "mine", "text": "mine"})
        return Turn(f"turn {self.turns * self.scale}", done=text == "end", reward=0.5, info={"calls": 1})

    def verdict(self):
        return 1.0 if self.turns == 2 else 0.0

class Silent(Counter):
    verdict = None

class Pinned(Counter):
    replayable = False

class Fragile(Counter):
    """Its verdict chokes on some turns, and from `needs` on before any."""

    def __init__(self, problem, seed, needs=0):
        super().__init__(problem, seed)
        self.texts, self.needs = [], needs

    def step(self, text):
        self.texts.append(text)
        return Turn("noted", info={"big": 10**5000, "n": 2**62} if text == "big" else {})

    def verdict(self):
        if len(self.texts) < self.needs:
            raise IndexError("no turn yet")
        if "hang" in self.texts:
            time.sleep(60)
        if "die" in self.texts:
            os._exit(3)
        return 1 / (0 if "zero" in self.texts else 2)

class Broken(Counter):
    """Fails on whatever it is asked, and at once."""

    def step(self, text):
        raise RuntimeError("this world never works")

class Unmade(Counter):
    def reset(self):
        raise RuntimeError("no board")

class Forgetful(Counter):
    """Another answer each time: not a function of its actions."""

    def step(self, text):
        if text == "die":
            os._exit(3)
        return Turn(str(os.getpid()) + str(time.monotonic()))

def slow_add(a: int, b: int) -> int:
    """Add two numbers.

    a: the first
    b: the second
    """
    return a + b

def fails(x: str) -> str:
    """Fail."""
    raise KeyError(x)

def hangs(x: str) -> str:
    """Never come back."""
    time.sleep(60)

def dies(x: str) -> str:
    """End the process."""
    os._exit(1)

def grows(x: int) -> int:
    """A number of more digits than Python writes."""
    return x * 10**5000

def draws(x: str) -> str:
    """A random number."""
    return str(random.random())

def untyped(x):
    """No hint."""

def silent(x: int) -> int:
    return x

def odd(x: object) -> int:
    """A type that JSON has not."""
'''


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    """A folder with the module `worlds_of_tests`."""
    folder = tmp_path_factory.mktemp("worlds")
    (folder / "worlds_of_tests.py").write_text(WORLDS, encoding="utf-8")
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def hasty_host(worlds):
    """One worker with a second for an answer, for what never answers."""
    made = Host(workers=1, deadline=1.0, memory_mb=1024, import_paths=(str(worlds),))
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(worlds):
    """Two workers with two seconds for an answer."""
    made = Host(workers=2, deadline=2.0, memory_mb=1024, import_paths=(str(worlds),))
    yield made
    made.close()
