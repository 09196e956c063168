import socket
import threading

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


def test_frames_sent_together_are_read_one_by_one_whatever_their_sizes_and_pieces():
    payloads = [b"", b"one", b"x" * 200_000, b"y" * 65_532, b"z", b""]
    data = b"".join(frames.HEADER.pack(len(payload)) + payload for payload in payloads)
    a, b = socket.socketpair()
    reader = frames.Reader(b)

    def send():
        for start in range(0, len(data), 70_001):
            a.sendall(data[start : start + 70_001])
        a.close()

    thread = threading.Thread(target=send)
    thread.start()
    assert [reader.receive() for _ in range(len(payloads) + 1)] == [*payloads, None]
    thread.join()


def test_a_frame_above_the_limit_is_refused_and_one_cut_off_is_none():
    a, b = socket.socketpair()
    frames.send(a, b"x" * 11)
    with pytest.raises(frames.FrameError, match="11 bytes; at most 10"):
        frames.Reader(b).receive(limit=10)
    a, b = socket.socketpair()
    a.sendall(frames.HEADER.pack(10) + b"123")
    a.close()
    assert frames.Reader(b).receive() is None
