"""A user's folder whose modules have the names that others would take for ours; ports for servers that die and come
back; the exit codes of several processes."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

RECIPE = {
    "name": "small",
    "data": {"task": "addition", "size": 8, "settings": {"digits": 1}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 4,
    "threads": 1,
    "workers": {"count": 1},
    "prompts_per_step": 2,
    "group_size": 2,
    "steps": 1,
}


@pytest.fixture
def hostile_folder(tmp_path) -> Path:
    """Holds a recipe of one step, and a data.py, a verifiers/ and a sandbox.py that raise where they are imported."""
    folder = tmp_path / "project"
    (folder / "verifiers").mkdir(parents=True)
    for name in ("data.py", "verifiers/__init__.py", "sandbox.py"):
        (folder / name).write_text(f'raise RuntimeError("{name} of the user was imported")\n')
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return folder


@pytest.fixture(scope="session")
def held_port() -> Iterator[Callable[[], int]]:
    """held_port() -> a port that nobody else is given, also while no server is there. Who sets SO_REUSEADDR, as servers
    do, may listen at it."""
    held: list[socket.socket] = []

    def hold() -> int:
        held.append(socket.socket())
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held[-1].bind(("127.0.0.1", 0))
        return held[-1].getsockname()[1]

    yield hold
    for each in held:
        each.close()


@pytest.fixture(scope="session")
def ended() -> Callable[..., list[int | None]]:
    """ended(processes, seconds, waited_for) -> exit codes once the first so many (all) have ended, None of one that had
    to be killed."""

    def codes_of(processes: Sequence, seconds: float = 100, waited_for: int | None = None) -> list[int | None]:
        until = time.monotonic() + seconds
        for process in processes[:waited_for]:
            process.join(max(0.0, until - time.monotonic()))
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
            process.join()
        return codes

    return codes_of
