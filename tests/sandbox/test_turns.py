"""A conversation goes in turns, and nothing that a program says or starts keeps a slot beyond its clock."""

import socket
import threading
import time

import pytest

from r1lab_sandbox import driver, wire
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.isolation import cgroup, process
from r1lab_sandbox.records import Limits, Program

pytestmark = pytest.mark.sandbox
LIMITS = Limits(seconds=20.0, turn_seconds=1.0, memory_mb=256)
SHORT = Limits(seconds=20.0, turn_seconds=0.4, memory_mb=256)
FLOODS = {
    "empty frames": "while True: os.write(4, bytes(1 << 18))",
    "one empty frame too many": "os.write(4, bytes(8)); time.sleep(60)",
    "small frames": "while True: os.write(4, b'\\0\\0\\0\\2{}' * 1000)",
    "an endless frame": "os.write(4, b'\\0\\x10\\0\\0')\nwhile True:\n    os.write(4, b' '); time.sleep(0.3)",
    "a frame that is too large": "os.write(4, b'\\xff' * 4); time.sleep(60)",
    "a child that floods": "if os.fork() == 0:\n    while True: os.write(4, bytes(4))\ntime.sleep(60)",
    "silence": "time.sleep(60)",
    "a closed line": "os.close(4); time.sleep(60)",
}
QUESTION = b'{"nonce": "n", "name": "f", "args": [], "kwargs": {"dict": []}}'


@pytest.fixture(scope="module")
def box():
    with Sandbox(slots=2, backend="namespaces") as made:
        yield made


def flood(name: str, place: str) -> Program:
    """The flood at the program's top, or in the function that is called."""
    source = "import os, time\n" + FLOODS[name]
    if place == "function":
        source = "import os, time\ndef f():\n" + "".join(f"    {line}\n" for line in FLOODS[name].splitlines())
    return Program(source, kind="serve", messages=(QUESTION,) * 50)


@pytest.mark.parametrize("place", ["top", "function"])
@pytest.mark.parametrize("name", FLOODS)
def test_whatever_a_program_says_its_slot_is_free_in_time(box, name, place):
    start = time.monotonic()
    outcome = box.run(flood(name, place), SHORT)
    assert outcome.status in ("output", "timeout") and time.monotonic() - start < 1.4
    start = time.monotonic()
    with box.converse(flood(name, place), SHORT) as session:
        for _ in range(50):
            session.say(QUESTION)
    assert session.outcome.status in ("output", "timeout") and time.monotonic() - start < 1.4


def test_a_program_that_speaks_after_the_line_is_closed_is_ended(box):
    source = "import os, threading\ndef f(): return 1\ndef on():\n    while True: os.write(4, bytes(4))\n"
    source += "import time\nreal = os._exit\nos._exit = lambda code: on()\n"
    start = time.monotonic()
    assert box.run(Program(source, kind="serve", messages=(QUESTION,)), LIMITS).status == "output"
    with box.converse(Program(source, kind="serve"), LIMITS) as session:
        assert b'"value": 1' in session.say(QUESTION)
    assert session.outcome.status == "output" and time.monotonic() - start < 2.0


def test_the_clock_of_a_conversation_stands_while_the_other_side_thinks(box):
    limits = Limits(seconds=0.6, turn_seconds=0.6)
    with box.converse(Program("def f(): return 1", kind="serve"), limits) as session:
        for _ in range(3):
            time.sleep(0.4)
            assert b'"value": 1' in session.say(QUESTION)
    assert session.outcome.status == "ok" and session.outcome.wall_seconds < 0.6


def test_long_messages_and_replies_go_through(box):
    text = b'{"nonce": "n", "name": "f", "args": ["%s"], "kwargs": {"dict": []}}' % (b"x" * (3 << 20))
    program = Program("def f(x): return x", kind="serve", messages=(text,) * 3)
    outcome = box.run(program, Limits(seconds=20.0))
    assert outcome.status == "ok" and [len(reply) >> 20 for reply in outcome.replies] == [0, 3, 3, 3]


def test_a_program_that_ends_while_it_is_not_its_turn_is_not_waited_for(box):
    source = "import os, threading, time\ndef f():\n    threading.Thread(target=leave).start()\n    return 1\n"
    source += "def leave():\n    time.sleep(0.1)\n    os._exit(3)\n"
    with box.converse(Program(source, kind="serve"), LIMITS) as session:
        session.say(QUESTION)
        time.sleep(0.5)
        assert session.say(QUESTION) is None
    assert session.outcome.exit_code == 3
    assert box.run(Program("print(1)"), LIMITS).stdout == b"1\n"


CROWD = """import os
for _ in range(30):
    if os.fork() == 0:
        os.setsid()
        break
while True: pass
"""
HONEST = "import time\nwhile time.process_time() < 0.3: pass\nprint(7)"


@pytest.mark.parametrize("has_groups", [True, False])
def test_a_crowd_of_processes_takes_no_time_of_the_neighbour(monkeypatch, has_groups):
    if not has_groups:
        monkeypatch.setattr(cgroup, "make", lambda name: None)
    with Sandbox(slots=2, backend="namespaces") as box:
        if has_groups and not box.has_groups:
            pytest.skip("no control group can be had here")
        seconds = []

        def spin() -> None:
            start = time.monotonic()
            assert box.run(Program(CROWD), Limits(seconds=1.0)).status == "timeout"
            seconds.append(time.monotonic() - start)

        crowd = threading.Thread(target=spin)
        crowd.start()
        assert box.run(Program(HONEST), Limits(seconds=1.0)).stdout == b"7\n"
        crowd.join()
    assert seconds[0] < 4.5


def test_a_run_that_has_burnt_its_time_in_many_processes_is_given_none_back(monkeypatch):
    frame = wire.request(Program("pass"), Limits(seconds=2.0), live=False)[1:]
    monkeypatch.setattr(process, "seconds_waited", lambda pidfd: 1.5)
    for burnt, is_granted in ((0.5, True), (2.5, False)):
        run = driver._Run(socket.socket(), Silent(), None, frame)
        run.pidfd, run.paused, run.turn_time = 0, 0.0, 0.0
        monkeypatch.setattr(process, "cpu_seconds", lambda pidfd, burnt=burnt: burnt)
        assert run._grant() is is_granted and run.paused == (1.5 if is_granted else 0.0)
        assert run._grant() is False


class Silent:
    """A starter that starts nothing."""

    grouped, is_watched = None, False
