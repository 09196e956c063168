"""A module of small `serve` functions for workers, written to a folder that is put on their path."""

import sys

import pytest

from r1lab_sandbox.forkserver.forkserver import ForkServer

SERVES = '''
import os, pathlib, resource, subprocess, time
from r1lab_sandbox.forkserver import frames

def mark(path):
    pathlib.Path(path).write_text(str(os.getpid()))

def echo(sock, suffix=""):
    while (frame := frames.receive(sock)) is not None:
        frames.send(sock, frame + suffix.encode())

def hang(sock):
    while True:
        pass

def leave(sock):
    frames.receive(sock)
    os._exit(0)

def mute(sock):
    frames.receive(sock)
    os.closerange(0, 100)
    time.sleep(100)

def flood(sock):
    frames.receive(sock)
    sock.sendall(b"\\xff" * 100)

def state(sock):
    frames.receive(sock)
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
    frames.send(sock, repr((fds, limits, os.getsid(0) == os.getpid())).encode())

def breed(sock):
    """Children in the group, and one that left for a session of its own and was orphaned."""
    frames.receive(sock)
    subprocess.Popen(["sleep", "1000"])
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(["sleep", "1001"])
        os._exit(0)
    frames.send(sock, b"done")
    time.sleep(1000)
'''


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "serves.py").write_text(SERVES)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    server = ForkServer()
    yield server
    server.close()
