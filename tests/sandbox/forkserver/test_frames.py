import socket

import pytest

from r1lab_sandbox.forkserver import frames


def test_frames_come_out_as_they_went_in_and_a_close_is_none():
    a, b = socket.socketpair()
    for payload in (b"", b"one", b"x" * 1000):
        frames.send(a, payload)
    a.close()
    assert [frames.receive(b) for _ in range(4)] == [b"", b"one", b"x" * 1000, None]


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    a, b = socket.socketpair()
    frames.send(a, b"x" * 11)
    with pytest.raises(frames.FrameError, match="11 bytes; at most 10"):
        frames.receive(b, limit=10)


def test_a_frame_cut_short_is_none():
    a, b = socket.socketpair()
    a.sendall(frames.HEADER.pack(10) + b"123")
    a.close()
    assert frames.receive(b) is None
