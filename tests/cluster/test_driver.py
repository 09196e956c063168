"""Two trainers and two servers over the machines of a Ray cluster, with real kills: of a server, of a machine, of a
trainer. The machines are Ray's own, several on this one."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from r1lab.cluster import driver
from r1lab.errors import RecipeError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("ray", reason="Ray is not installed (extra ray)")

RECIPE = {
    "name": "placed", "engine": "server", "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 16, "learning_rate": 3e-4, "threads": 1,
    "workers": {"count": 1}, "prompts_per_step": 4, "group_size": 4, "reward": {"score": 1.0, "length": -1.0},
    "checkpoint_every": 1, "keep_last": 1, "steps": 500,
}  # fmt: skip
COMMAND = """
sys.argv = ["r1lab", "train", {recipe!r}, "--cluster", {cluster!r}, "--processes", "2", *{overrides!r}]
from r1lab.cli.main import main
main()
"""
LATE_SECONDS = 240.0
MARK = "R1LAB_TEST"
"""Variable that all processes of a test have, and nobody else's."""


@pytest.fixture(scope="module")
def machines():
    """Ray with two machines: trainers and a server on the first, a server on the other."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    def get_node(*arguments):  # Ray gives a machine that is busy 30 s to start
        ends = time.monotonic() + LATE_SECONDS
        while True:
            try:
                return original(*arguments)
            except RuntimeError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)

    original, services.get_node = services.get_node, get_node
    small = {"object_store_memory": 80 << 20}
    quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 8}
    head = {"num_cpus": 3, "resources": {"learns": 2, "serves": 1}, "include_dashboard": False, **small}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": quick})
    cluster.more = lambda: cluster.add_node(num_cpus=1, resources={"serves": 1}, **small)
    cluster.other = cluster.more()
    yield cluster
    cluster.shutdown()
    services.get_node = original


@pytest.fixture
def train(machines, forked_in, tmp_path):
    """train(*overrides) -> the command's process, whose folder is the test's."""
    recipe, cluster = tmp_path / "recipe.yaml", tmp_path / "cluster.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "out": str(tmp_path / "run")}))
    asked = {"servers": {"count": 2, "resources": {"serves": 1}}, "trainers": {"resources": {"learns": 1}}}
    cluster.write_text(yaml.safe_dump({"address": machines.address, **asked}))

    def start(*overrides: str):
        given = {"recipe": str(recipe), "cluster": str(cluster), "overrides": overrides}
        surroundings = {"RAY_USAGE_STATS_ENABLED": "0", "R1LAB_RANK_DEADLINE": "800", MARK: str(tmp_path)}
        return forked_in(tmp_path, COMMAND.format(**given), **surroundings)

    return start


def until(true, process, folder: Path):
    ends = time.monotonic() + LATE_SECONDS
    while not (found := true()):
        assert process.is_alive() and time.monotonic() < ends, said(folder)
        time.sleep(0.1)
    return found


def said(folder: Path) -> str:
    return "".join((folder / name).read_text() for name in ("stdout", "stderr") if (folder / name).exists())


def rows(folder: Path) -> list[dict]:
    path = folder / "run" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def running(folder: Path, word: str, **environment: str) -> list[psutil.Process]:
    """The processes of a test's run: `serve` or `train`."""
    wanted, found = {MARK: str(folder), **environment}, []
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error):
            if (process.info["cmdline"] or [])[1:4] == ["-m", "r1lab", word]:
                found += [process] * (wanted.items() <= process.environ().items())
    return found


def ends_all(folder: Path) -> bool:
    """Whether nothing of a test's run is left once Ray has ended its actors."""
    ends = time.monotonic() + LATE_SECONDS
    while (left := running(folder, "serve") + running(folder, "train")) and time.monotonic() < ends:
        time.sleep(0.1)
    return not left


@pytest.mark.parametrize(("address", "told"), [
    ("127.0.0.1:9", r"no Ray answers at 127\.0\.0\.1:9 \(.*refused\); start one with ray start --head"),
    ("nowhere.invalid:6379", r"no Ray answers at nowhere\.invalid:6379"),
    ("127.0.0.1:99999", "no Ray answers at 127"),
    ("ray://a:10001", "RAY_ADDRESS: 'ray://a:10001' is no address"),
])  # fmt: skip
def test_an_address_where_no_ray_answers_is_one_line(monkeypatch, address, told):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RecipeError, match=told), driver._joined(None):
        pass


def test_a_listener_that_is_no_ray_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(driver, "ADDRESS_SECONDS", 4.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            pytest.raises(RecipeError, match=f"no Ray answers at {address} .nothing within 4 s"),
            driver._joined(address),
        ):
            pass


def test_a_run_outlives_servers_and_a_machine_ends_with_a_trainer_and_goes_on(train, machines, tmp_path):
    run = train()
    until(lambda: len(rows(tmp_path)) > 2, run, tmp_path)
    os.kill(running(tmp_path, "serve")[0].pid, signal.SIGKILL)
    until(lambda: "ended (-9) and starts again" in said(tmp_path), run, tmp_path)
    until(lambda: "is back and has weights" in said(tmp_path), run, tmp_path)
    machines.remove_node(machines.other, allow_graceful=False)
    machines.other = machines.more()
    until(lambda: "starts again, at http://" in said(tmp_path), run, tmp_path)
    until(lambda: said(tmp_path).count("is back and has weights") == 2, run, tmp_path)
    reached = len(rows(tmp_path))
    until(lambda: len(rows(tmp_path)) > reached, run, tmp_path)
    os.kill(running(tmp_path, "train", RANK="1")[0].pid, signal.SIGKILL)
    run.join(LATE_SECONDS)
    assert run.exitcode == 1
    (line,) = [line for line in said(tmp_path).splitlines() if line.startswith("r1lab: ")]
    assert "trainer 1 on " in line and line.endswith(
        "was killed (SIGKILL); the same command goes on from the last step"
    )
    assert ends_all(tmp_path)

    run = train()
    reached = len(rows(tmp_path))
    until(lambda: len(rows(tmp_path)) > reached, run, tmp_path)
    os.kill(run.pid, signal.SIGTERM)
    run.join(LATE_SECONDS)
    assert run.exitcode == 143, said(tmp_path)
    (line,) = [line for line in said(tmp_path).splitlines() if line.startswith("r1lab: ")]
    assert "stopped by SIGTERM after step" in line and "the same command goes on from here" in line

    last = rows(tmp_path)[-1]["step"] + 1
    run = train(f"steps={last}")
    run.join(LATE_SECONDS)
    assert run.exitcode == 0, said(tmp_path)
    steps = [row["step"] for row in rows(tmp_path)]
    assert steps == sorted(set(steps)) and steps[-1] == last and (tmp_path / "run" / "model").is_dir()
    assert ends_all(tmp_path) and not list(tmp_path.glob(".r1lab-*"))


def test_programs_are_run_on_what_servers_and_trainers_leave_free(train, machines, tmp_path):
    def problem(number: int) -> str:
        tests = {"inputs": [""], "outputs": ["7"]}
        return json.dumps({"prompt": f"{number}", "solution": "```python\nprint(7)\n```", "answer": tests})

    (tmp_path / "sevens.jsonl").write_text("\n".join(map(problem, range(32))))
    learned = {"name": "book", "kind": "sft", "steps": 40, "learning_rate": 2e-3, "prompts_per_step": 16}
    paid = {"kind": "rl", "steps": 2, "reward": {"score": 1.0}}
    free = machines.add_node(num_cpus=2, object_store_memory=80 << 20)
    run = train(
        "data=" + json.dumps({"path": str(tmp_path / "sevens.jsonl"), "columns": {"solution": "solution"}}),
        "verifier=" + json.dumps({"use": "code", "workers": "ray", "slots": 1}),
        "stages=" + json.dumps([learned, paid]), "max_new_tokens=32",
    )  # fmt: skip
    run.join(LATE_SECONDS)
    assert run.exitcode == 0, said(tmp_path)
    assert rows(tmp_path)[-1]["pass/share"] > 0.5
    machines.remove_node(free)
