"""URLs, deadlines and broken connections."""

import socket

import pytest

from r1lab.engines.server import client
from r1lab.engines.server.client import Gone, ServerRefusal, Wire, error_text


@pytest.mark.parametrize("url", ["ftp://host:1", "http://", "http://host:port", "http://host:70000"])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match=r"is no URL.*write http://host:port"):
        Wire(url)


@pytest.mark.parametrize("url", ["host:1", "http://host:1/", "http://host:1/v1", "http://host:1/v1/"])
def test_ways_to_write_a_url(url):
    assert Wire(url).url == "http://host:1"


def test_nobody_there_and_nobody_who_answers(lab):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Gone, match=r"GET http://127.* gave no sign for 0.1 s"):
            Wire(url).get("/version", 0.1)
    with pytest.raises(Gone, match=r"nothing listens there \(connection refused\)"):
        Wire(url).get("/version")


def test_an_answer_that_is_no_json_and_one_that_is_no_http(serve):
    server = serve()
    server.replies["/version"] = (500, {"error": {"message": "it\nbroke"}})
    with pytest.raises(ServerRefusal, match=r"GET http://127.*/version answered 500: it broke"):
        Wire(server.url).get("/version")
    with pytest.raises(Gone, match="https://127"):
        Wire(server.url.replace("http", "https")).get("/version")


def test_only_a_line_feed_ends_a_line_of_a_stream():
    chunks = [b"data: a\xe2\x80\xa8b", b"\x85\r", b"\ndata: c\n", b"\n", b"data"]
    assert list(client._lines(chunks)) == [b"data: a\xe2\x80\xa8b\x85\r", b"data: c", b""]


@pytest.mark.parametrize(
    ("body", "text"), [(b'{"detail": "Not Found"}', "Not Found"), (b"<html>\n x", "<html> x"), (b"[1]", "[1]")]
)
def test_a_servers_words_in_one_line(body, text):
    assert error_text(body) == text
