"""Length-prefixed frames on a stream socket, blocking: the side that has no deadline (template and workers).

Not the parent's side, which waits with a deadline (`r1lab_sandbox.forkserver.forkserver.Worker`), and no serialiser:
bytes in and out.
"""

import socket
import struct

HEADER = struct.Struct("!I")
MAX_REQUEST_BYTES = 256 << 20
"""Bytes a request from our own parent may have."""
READ_BYTES = 1 << 16
"""Bytes asked for in one read of what may hold several frames."""


class FrameError(ValueError):
    """A frame longer than the reader accepts."""


def send(sock: socket.socket, payload: bytes) -> None:
    sock.sendall(HEADER.pack(len(payload)) + payload)


def receive(sock: socket.socket, limit: int = MAX_REQUEST_BYTES) -> bytes | None:
    """The next frame, or None where the other side has closed."""
    head = read_exactly(sock, HEADER.size)
    return None if head is None else read_body(sock, head, limit)


def read_body(sock: socket.socket, head: bytes, limit: int = MAX_REQUEST_BYTES) -> bytes | None:
    """The frame whose header has been read already (descriptors travel with the header)."""
    (size,) = HEADER.unpack(head)
    if size > limit:
        raise FrameError(f"a frame of {size} bytes; at most {limit}")
    return read_exactly(sock, size)


class Reader:
    """Reads the frames of a socket that are sent several at once: one read for as many as have arrived."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._kept, self._at = b"", 0

    def receive(self, limit: int = MAX_REQUEST_BYTES) -> bytes | None:
        """The next frame, or None where the other side has closed."""
        head = self._take(HEADER.size)
        if head is None:
            return None
        (size,) = HEADER.unpack(head)
        if size > limit:
            raise FrameError(f"a frame of {size} bytes; at most {limit}")
        return self._take(size)

    def _take(self, size: int) -> bytes | None:
        end = self._at + size
        if end > len(self._kept):
            parts, missing = [self._kept[self._at :]], end - len(self._kept)
            while missing > 0:
                part = self._sock.recv(READ_BYTES)
                if not part:
                    return None
                parts.append(part)
                missing -= len(part)
            self._kept, self._at, end = b"".join(parts), 0, size
        taken = self._kept[self._at : end]
        self._at = end
        return taken


def read_exactly(sock: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
