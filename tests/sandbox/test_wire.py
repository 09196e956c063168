import pytest

from r1lab_sandbox import wire
from r1lab_sandbox.records import Limits, Outcome, Program


def test_an_outcome_crosses_as_it_is():
    outcome = Outcome("failed", 3, None, b"\x00\xff", b"why", (b"", b"two"), 0.5, 0.25, 12.0)
    assert wire.unpack(wire.pack(outcome)) == outcome


def test_a_request_has_what_the_driver_reads_apart_from_what_the_jail_reads():
    frame = wire.request(Program("secret", stdin=b"\xff\n", messages=(b"{}",), kind="serve"), Limits(), live=False)
    assert frame[:1] == b"R"
    header, inner, stdin = wire.parts(frame[1:])
    assert header["messages"] == ["{}"] and header["has_line"] and "secret" not in str(header)
    assert b"secret" in inner and stdin == b"\xff\n"


def test_a_request_over_the_largest_is_refused(monkeypatch):
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 2000)
    with pytest.raises(ValueError, match=r"a program and its input of \d+ bytes; at most 1000"):
        wire.request(Program("x" * 1000), Limits(), live=False)
