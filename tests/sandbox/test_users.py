"""The sandbox as other users find it, each in a user namespace: nothing of this machine's settings changes."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.sandbox
UNSHARE = ["unshare", "--user"]
REPORT = """
from r1lab_sandbox import probe
from r1lab_sandbox.box import Sandbox
with Sandbox(slots=1, backend="namespaces", packages=()) as box:
    print(os.geteuid(), probe.report(box).broken)
"""
START = """
from r1lab_sandbox.box import Sandbox
try:
    Sandbox(slots=1)
except OSError as error:
    print(error)
"""


def as_user(options: list[str], source: str) -> str:
    """What a program prints that is run by Python as another user."""
    if shutil.which("unshare") is None:
        pytest.skip("util-linux's unshare is not installed")
    command = [*UNSHARE, *options, sys.executable, "-c", "import os\n" + source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    if "unshare failed" in done.stderr:
        pytest.skip(f"no user namespace can be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("options", "user"), [(["--map-user=1000", "--map-group=1000"], "1000"), (["-r"], "0")])
def test_the_walls_hold_for_an_ordinary_user_and_for_root_without_other_users(options, user):
    found = as_user(options, REPORT)
    # the kernel does not count processes of the machine's own root, whatever it is called in the namespace
    assert found in (f"{user} []", f"{user} ['number of processes']")


def test_where_user_namespaces_are_forbidden_it_says_what_to_enable():
    forbid = "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
    found = as_user(["-r"], forbid + START)
    assert found.startswith("no isolation, so no program is run (namespaces: the jail cannot be entered")
    assert "user.max_user_namespaces" in found and "\n" not in found
