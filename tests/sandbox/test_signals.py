"""That no signal leaves a jail. The attack runs under a driver in a session of its own: were a wall missing, only that
session could be hurt by kill(0, ...)."""

import json
import os
import subprocess
import sys

import pytest

from r1lab_sandbox.backends import bubblewrap
from r1lab_sandbox.isolation import jail

pytestmark = pytest.mark.sandbox
DRIVER = """
import json, subprocess, sys
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Program
victims = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
with Sandbox(slots=1, backend=sys.argv[1], packages=()) as box:
    for attack in json.loads(sys.argv[2]):
        print(json.dumps(attack), flush=True)
        attack = "import os" + "".join(f"\\ntry: {each}\\nexcept OSError: pass" for each in attack)
        told = []
        for kind in ("script", "serve"):
            outcome = box.run(Program(attack + "\\ndef f(): pass", kind=kind), Limits(seconds=5))
            told.append(outcome.status)
        told.append(box.run(Program("print(1)"), Limits(seconds=5)).status)
        print(json.dumps([told, [each.poll() for each in victims]]), flush=True)
for each in victims:
    each.kill()
"""
ATTACKS = (
    ["os.kill(0, 9)"],
    ["os.killpg(0, 9)"],
    ["os.kill(os.getppid(), 9)"],
    ["os.killpg(os.getpgrp(), 9)"],
    ["os.kill(-1, 9)"],
    ["os.kill(-1, 15)", "os.kill(1, 9)", "[os.kill(pid, 9) for pid in range(2, 300)]"],
)
BACKENDS = [
    "namespaces",
    pytest.param("bubblewrap", marks=pytest.mark.skipif(not bubblewrap.find(), reason="bubblewrap is not installed")),
    "none",
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_signal_reaches_a_process_outside(backend):
    command = [sys.executable, "-c", DRIVER, backend, json.dumps(ATTACKS)]
    done = subprocess.run(command, capture_output=True, timeout=100, start_new_session=True, env=dict(os.environ))
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (said, done.stderr.decode())
    assert tuple(said[::2]) == ATTACKS
    for attack, (statuses, victims) in zip(said[::2], said[1::2]):
        assert victims == [None, None, None] and statuses[2] == "ok", attack
        assert set(statuses[:2]) <= {"ok", "failed", "killed"}, attack


def test_a_process_that_shares_its_group_or_namespace_runs_no_program():
    with pytest.raises(OSError, match="its signals could leave the jail"):
        jail.check_alone()
