import dataclasses

import pytest

from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Program

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
TIMES = {"wall_seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0.0}


def test_programs_run_on_ray_as_they_do_here():
    programs = ["print(input())", "1 / 0", "import ctypes; ctypes.string_at(0)", "while True: pass"]
    outcomes = []
    for workers in ("local", "ray"):
        with Sandbox(slots=2, workers=workers) as box:
            found = [box.run(Program(source, stdin=b"3\n"), Limits(seconds=0.5)) for source in programs]
            with box.converse(Program("def f(): return 5", kind="serve"), Limits()) as session:
                heard = session.say(b'{"nonce": "n", "name": "f", "args": [], "kwargs": {"dict": []}}')
            outcomes.append([*(dataclasses.replace(each, **TIMES) for each in found), heard])
    assert outcomes[0] == outcomes[1] and outcomes[0][0].stdout == b"3\n"
