import os

from r1lab_sandbox.isolation import cgroup


def test_limits_and_kills_are_read_and_written_in_both_versions(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    (first / "memory.limit_in_bytes").write_text("")
    (first / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (second / "memory.max").write_text("")
    (first / "memory.failcnt").write_text("7\n")
    (second / "memory.events").write_text("low 0\nmax 5\noom 1\noom_kill 2\n")
    groups = [cgroup.ControlGroup(folder) for folder in (first, second)]
    for group in groups:
        group.limit(64)
    assert [group.num_kills() for group in groups] == [3, 2]
    assert [group.num_refusals() for group in groups] == [7, 5]
    assert (first / "memory.limit_in_bytes").read_text() == str(64 << 20) == (second / "memory.max").read_text()
    assert (second / "memory.swap.max").read_text() == "0"


def test_groups_of_dead_processes_are_removed_and_no_others(tmp_path, monkeypatch):
    for name in ("r1lab-999999999-1", f"r1lab-{os.getpid()}-7", "other-999999999-1"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cgroup, "_own", lambda controller: tmp_path)
    assert cgroup.make("1") is None
    assert (tmp_path / "other-999999999-1").exists()
    assert not (tmp_path / "r1lab-999999999-1").exists() and (tmp_path / f"r1lab-{os.getpid()}-7").exists()


def test_where_no_group_may_be_made_there_is_none(monkeypatch):
    monkeypatch.setattr(cgroup, "_own", lambda controller: None)
    assert cgroup.make("1") is None
