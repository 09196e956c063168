"""What a machine looks like from outside a jail, before and after: processes, files, IPC, mounts, listeners."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import psutil

PORT = 18080
FOLDERS = ("/tmp", "/srv", "/var/tmp", "/dev/shm", "/root", "/usr/lib/python3", "/")


def state() -> dict[str, object]:
    """What must be equal before and after a run. Processes: this one's, and orphans of others' sessions."""
    segments = Path("/proc/sysvipc/shm")
    return {
        "processes": sorted(each.pid for each in psutil.Process().children(recursive=True)),
        "files": sorted(f"{folder}/{name}" for folder in FOLDERS for name in _listed(folder) if "PWNED" in name),
        "segments": segments.read_text() if segments.exists() else "",
        "mounts": sum(1 for _ in Path("/proc/self/mounts").open()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "sockets": sorted(line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()
                          if line.split()[-1].startswith("@") and "PWNED" in line),
    }  # fmt: skip


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


class Listeners:
    """TCP, UDP and an abstract socket on this machine, and what they heard."""

    def __enter__(self) -> "Listeners":
        self.heard: list[str] = []
        self._sockets = []
        for kind, name, address in (
            (socket.SOCK_STREAM, "tcp", ("127.0.0.1", PORT)),
            (socket.SOCK_DGRAM, "udp", ("127.0.0.1", PORT)),
            (socket.SOCK_STREAM, "abstract", "\0r1lab-listener"),
        ):
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            sock = socket.socket(family, kind)
            if family == socket.AF_INET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            if kind == socket.SOCK_STREAM:
                sock.listen()
            sock.settimeout(0.2)
            self._sockets.append((name, sock))
        self._is_open = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> None:
        while self._is_open:
            for name, sock in self._sockets:
                with suppress(TimeoutError):
                    sock.recv(10) if name == "udp" else sock.accept()
                    self.heard.append(name)

    def __exit__(self, *_) -> None:
        self._is_open = False
        self._thread.join()
        for _, sock in self._sockets:
            sock.close()
