"""A module of well-meant and hostile plug-ins, written to a folder that is put on the import path."""

import sys

import pytest

from r1lab_verifiers import resolve
from r1lab_verifiers.pool.pool import Pool

PLUGINS = '''
import asyncio, math, os, pathlib, random, signal, subprocess, sys, threading, time
from dataclasses import dataclass
from r1lab_verifiers import Verdict

def parity(completion, answer):
    return len(completion) % 2 == int(answer) % 2

def grade(completion, answer, scale=1.0):
    return float(completion) * scale

def returns(completion, answer):
    return eval(completion)

def recurse(): recurse()

def bomb():
    hoard = []
    while True:
        hoard.append(bytes(10 << 20))

class Odd(Exception):
    def __str__(self): raise RuntimeError("no text")

def spin():
    while True: pass

def fork_twin():
    os.fork()

def breed():
    subprocess.Popen(["sleep", "1000"])
    os._exit(1)

ACTS = {
    "hang": spin,
    "sleep": lambda: time.sleep(1000),
    "exit": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(3),
    "raise": lambda: 1 / 0,
    "base": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "odd": lambda: (_ for _ in ()).throw(Odd()),
    "recurse": recurse,
    "bomb": bomb,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "close": lambda: os.closerange(0, 1000),
    "forge": lambda: os.write(3, bytes([255] * 4000)),
    "template": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(5)),
    "breed": breed,
    "print": lambda: [print("x" * 1_000_000) for _ in range(100)],
    "stderr": lambda: [sys.stderr.write("x" * 1_000_000) for _ in range(20)],
    "thread": lambda: threading.Thread(target=spin, daemon=True).start(),
    "idle": lambda: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(),
    "fork": fork_twin,
}

class Act:
    """Does what the completion names, unless the answer says that even the witness does."""
    witness_act: str = "none"
    log: str = ""

    def verify(self, item):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{item.completion} {os.getpid()}\\n")
        ACTS.get(item.completion, lambda: None)()
        return Verdict(1.0, "correct", item.completion, str(os.getpid()))

    def witness(self, answer):
        return self.witness_act

class Once:
    """Fails while the file that the completion names is absent, which it makes: the retry works."""
    def verify(self, item):
        path = pathlib.Path(item.completion)
        if not path.exists():
            path.touch()
            os._exit(1)
        return True

class Slow:
    def __init__(self): time.sleep(0.6)
    def verify(self, item): return True

class NeverMade:
    def __init__(self): time.sleep(1000)
    def verify(self, item): return True

class Broken:
    def __init__(self): raise OSError("no licence file")
    def verify(self, item): return True

@dataclass
class Async:
    isolated = True
    pause: float = 0.01

    async def verify(self, item):
        await asyncio.sleep(1000 if item.completion == "hang" else self.pause)
        if item.completion == "raise": raise SystemExit("out")
        return Verdict(1.0, "correct", item.completion, threading.current_thread().name)

async def wrong_async(completion, answer): return True

class AsyncNotIsolated:
    async def verify(self, item): return True

class NoVerify: pass

one_parameter = lambda completion: True
number = 3
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `plugins` lies. Not yet on sys.path."""
    path = tmp_path_factory.mktemp("plugins")
    (path / "plugins.py").write_text(PLUGINS)
    before = list(sys.path)
    yield str(path)
    sys.path[:] = before
    sys.modules.pop("plugins", None)


@pytest.fixture(scope="module")
def shared(folder):
    """One open Pool for all tests of a module that need no settings of their own: starting one takes a while."""
    names = {"act": "Act", "returns": "returns", "parity": "parity", "once": "Once", "broken": "Broken"}
    with Pool({n: resolve(f"plugins:{v}", [folder]) for n, v in names.items()}, deadline=0.5, memory_mb=256) as pool:
        yield pool


@pytest.fixture
def pool(folder):
    """make(**specs or settings) -> an open Pool over plug-ins by name."""
    pools = []

    def make(workers=2, deadline=1.0, memory_mb=256, build_deadline=10.0, **specs):
        table = {name: resolve(spec, [folder]) for name, spec in specs.items()}
        pools.append(
            Pool(table, workers=workers, deadline=deadline, memory_mb=memory_mb, build_deadline=build_deadline)
        )
        return pools[-1]

    yield make
    for made in pools:
        made.close()
