"""A server that a benchmark or a test starts ends with it; a real one is started in `test_live.py`."""

import pytest
import server_child

from r1lab.engines.server import launch
from r1lab.errors import RunError


def test_a_child_that_does_not_start_says_where_its_log_is(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "find_spec", lambda name: object())
    log = tmp_path / "server.log"
    with server_child.Child("MODEL", log) as child:
        child.signal(9)
        with pytest.raises(RunError, match=rf"no server at http://127.0.0.1:{child.port} .*see {log}"):
            child.wait()
