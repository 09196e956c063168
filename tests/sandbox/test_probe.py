import pytest

from r1lab_sandbox import probe
from r1lab_sandbox.backends import bubblewrap
from r1lab_sandbox.box import Sandbox

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize("backend", ["namespaces", *(["bubblewrap"] if bubblewrap.find() else [])])
def test_every_wall_holds(backend):
    with Sandbox(slots=1, backend=backend) as box:
        report = probe.report(box)
    assert report.broken == [] and report.backend == backend and len(report.walls) == 10


def test_where_there_are_no_walls_the_probe_says_so():
    with Sandbox(slots=1, backend="none") as box:
        report = probe.report(box)
    assert {"files", "other processes"} <= set(report.broken)
    assert not {"network", "time", "memory", "system calls"} & set(report.broken)
