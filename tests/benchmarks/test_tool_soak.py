"""Many calls of tools, a tenth of the episodes hostile: nothing that is held grows."""

import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


@pytest.fixture
def tool_soak(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "experiments" / "benchmarks"))
    monkeypatch.delitem(sys.modules, "tool_soak", raising=False)
    import tool_soak

    return tool_soak


def test_processes_descriptors_and_threads_stay_as_many_and_memory_is_flat(tool_soak):
    rows = tool_soak.soak(480, parts=3)
    before, after = rows[1], rows[-1]
    assert sum(row["calls"] for row in rows) == 640
    for name in ("processes", "descriptors", "threads"):
        assert after[name] <= before[name], (name, rows)
    assert after["MiB"] < 1.1 * before["MiB"] + 4, rows
