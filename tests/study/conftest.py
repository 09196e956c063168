"""The command in this process, and files of rows."""

import json
import sys

import pytest

from r1lab import cli


@pytest.fixture
def command(tmp_path, monkeypatch, capfdbinary):
    """r1lab with these arguments in an empty folder: (exit code, stdout as bytes, stderr as text)."""
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)

    def run(*arguments: str) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["r1lab", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfdbinary.readouterr()
        return end.value.code, out, err.decode()

    yield run
    sys.path[:] = path


@pytest.fixture
def rows(tmp_path):
    """rows(...) -> the path of a JSONL file; texts and bytes are lines as they stand."""

    def write(*lines: dict | str | bytes, name: str = "cases.jsonl") -> str:
        encoded = [json.dumps(line).encode() if isinstance(line, dict) else line for line in lines]
        encoded = [line.encode() if isinstance(line, str) else line for line in encoded]
        (tmp_path / name).write_bytes(b"".join(line + b"\n" for line in encoded))
        return str(tmp_path / name)

    return write
