"""Length-prefixed frames on a stream socket, blocking: the side that has no deadline (template and workers).

Not the parent's side, which waits with a deadline (`r1lab_sandbox.forkserver.forkserver.Worker`), and no serialiser:
bytes in and out.
"""

import socket
import struct

HEADER = struct.Struct("!I")
MAX_REQUEST_BYTES = 256 << 20
"""Bytes a request from our own parent may have."""


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


def read_exactly(sock: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        part = sock.recv(min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
