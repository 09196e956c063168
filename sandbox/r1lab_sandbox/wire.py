"""What goes between the box and a slot's driver, as bytes: a run's request and its outcome. Interprets neither."""

import json
import marshal
import struct
from dataclasses import asdict

from r1lab_sandbox.forkserver.frames import HEADER
from r1lab_sandbox.records import Limits, Outcome, Program

MAX_FRAME_BYTES = 256 << 20
SIZES = struct.Struct("!III")
"""Bytes of the header (JSON, for the driver), of the request (marshal, for the jail) and of stdin."""
PLAIN = ("status", "exit_code", "signal", "wall_seconds", "cpu_seconds", "peak_mb")


def request(program: Program, limits: Limits, *, live: bool) -> bytes:
    """The frame that starts a run; ValueError where it is too large. live: the box answers the program by turns."""
    messages = [message.decode() for message in program.messages]
    header = {"limits": asdict(limits), "live": live, "has_line": program.kind != "script", "messages": messages}
    inner = {"kind": program.kind, "source": program.source, "argv": program.argv, "files": program.files,
             "extra": program.extra}  # fmt: skip
    head, body = json.dumps(header).encode(), marshal.dumps(inner)
    size = len(head) + len(body) + len(program.stdin)
    if size > MAX_FRAME_BYTES // 2:
        raise ValueError(f"a program and its input of {size} bytes; at most {MAX_FRAME_BYTES // 2}")
    return b"".join([b"R", SIZES.pack(len(head), len(body), len(program.stdin)), head, body, program.stdin])


def parts(frame: bytes) -> tuple[dict, bytes, bytes]:
    """(header, request, stdin) of what `request` made, its first byte taken off."""
    head, body, _ = SIZES.unpack_from(frame)
    first, second = SIZES.size + head, SIZES.size + head + body
    return json.loads(frame[SIZES.size : first]), frame[first:second], frame[second:]


def pack(outcome: Outcome) -> bytes:
    """An outcome as bytes: a JSON header, then its texts."""
    texts = [outcome.stdout, outcome.stderr, *outcome.replies]
    header = {name: getattr(outcome, name) for name in PLAIN}
    head = json.dumps({**header, "sizes": [len(text) for text in texts]}).encode()
    return b"".join([HEADER.pack(len(head)), head, *texts])


def unpack(data: bytes) -> Outcome:
    """The inverse of `pack`."""
    (size,) = HEADER.unpack_from(data)
    header = json.loads(data[HEADER.size : HEADER.size + size])
    position, texts = HEADER.size + size, []
    for length in header.pop("sizes"):
        texts.append(data[position : position + length])
        position += length
    return Outcome(**header, stdout=texts[0], stderr=texts[1], replies=tuple(texts[2:]))
