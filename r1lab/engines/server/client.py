"""JSON over HTTP to one vLLM server, with deadlines. Knows routes, not rollouts."""

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

FILE, NCCL = "r1lab_file", "r1lab_nccl"
"""Names under which the server registers the two ways that weights go to it."""
KEY_VARIABLE = "R1LAB_REPLICA_KEY"
"""Holds the key of servers that a run brings along."""
PLACED_VARIABLE, MOVED_VARIABLE = "R1LAB_SERVERS", "R1LAB_SERVERS_MOVED"
"""What places the servers of `engine.replicas` elsewhere says so by these: their URLs with commas between, and a file
{url: url} of those that it has started again at another place."""
SHARED_VARIABLE = "R1LAB_WEIGHTS"
"""Names a folder for the file of weights where servers on other machines read it too."""
SHOWN_CHARACTERS = 300
"""Characters of a server's own words that a message repeats."""


class Gone(Exception):
    """The server did not answer: refused, reset, cut off or past the deadline. The text says what was waited for."""


class ServerRefusal(Exception):
    """The server answered with an error."""

    def __init__(self, asked: str, status: int, said: str):
        super().__init__(f"{asked} answered {status}: {said}")
        self.status, self.said = status, said


class Wire:
    """The routes of one server. Every call opens its own connection, so it may be used from several threads."""

    def __init__(self, url: str, *, key_env: str | None = None, deadline: float = 120.0):
        """`key_env` names the environment variable that holds the server's key; `deadline` is in seconds of silence.

        ValueError where the URL is none.
        """
        parts = urlsplit(url if "//" in url else f"//{url}")
        try:
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is no URL ({error}); write http://host:port") from None
        if parts.scheme not in ("", "http", "https") or not host:
            raise ValueError(f"{url!r} is no URL of a server; write http://host:port")
        self.url = f"{parts.scheme or 'http'}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self.key_env, self.deadline = key_env, deadline
        self.is_secure = parts.scheme == "https"
        # Not by a proxy of the environment, which would see weights and key; trusted is whom this machine trusts.
        self._client = httpx.Client(
            verify=ssl.create_default_context() if self.is_secure else False,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    @property
    def address(self) -> str:
        """Where the server is now: its URL, or the place that it was moved to."""
        with suppress(LookupError, OSError, TypeError, ValueError):
            return json.loads(Path(os.environ[MOVED_VARIABLE]).read_text(encoding="utf-8"))[self.url]
        return self.url

    def get(self, route: str, deadline: float | None = None) -> Any:
        """The route's JSON. Gone, or ServerRefusal where the status is not 200."""
        return self.ask("GET", route, None, deadline)

    def post(self, route: str, body: dict | None = None, deadline: float | None = None) -> Any:
        """The same, with a body."""
        return self.ask("POST", route, body or {}, deadline)

    def ask(self, method: str, route: str, body: dict | None, deadline: float | None) -> Any:
        with self._answer(method, route, body, deadline) as response:
            text = response.read().decode("utf-8", "replace")
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError:
            shown = f"no JSON: {text[:SHOWN_CHARACTERS]!r}"
            raise ServerRefusal(f"{method} {self.url}{route}", response.status_code, shown) from None

    def stream(
        self, route: str, body: dict, opened: Callable[[socket.socket], None], heard: Callable[[], None]
    ) -> Iterator[dict]:
        """Server-sent events until the server says that it is done. Gone where they end before that.

        Between two events it waits for ever: a server may let one request wait while it answers others. `opened` gets
        the socket, so that another thread can shut it; `heard` is told of every line, a comment's too.
        """
        asked = f"POST {self.url}{route}"
        with self._answer("POST", route, body, None, opened) as response:
            for line in _lines(response.iter_bytes()):
                heard()
                if not line.startswith(b"data: "):
                    continue
                if line.startswith(b"data: [DONE]"):
                    return
                event = json.loads(line[6:])
                if "error" in event:
                    raise ServerRefusal(
                        asked, int(event["error"].get("code") or 500), str(event["error"].get("message"))
                    )
                yield event
        raise Gone(f"{asked} ended in the middle of an answer")

    @contextmanager
    def _answer(
        self, method: str, route: str, body: dict | None, deadline: float | None, opened: Callable | None = None
    ) -> Iterator[httpx.Response]:
        """`opened` gets the connection's socket before anything is asked; then no silence is too long."""
        asked, deadline = f"{method} {self.url}{route}", deadline or self.deadline

        connected = f"connection.{'start_tls' if self.is_secure else 'connect_tcp'}.complete"

        def trace(event: str, details: dict) -> None:
            if opened is not None and event == connected:
                opened(details["return_value"].get_extra_info("socket"))

        try:
            with self._client.stream(
                method,
                self.address + route,
                content=None if body is None else json.dumps(body),
                headers=self._headers(),
                timeout=httpx.Timeout(deadline, read=None if opened else deadline),
                extensions={"trace": trace},
            ) as response:
                if response.status_code != 200:
                    said = next(response.iter_bytes(1 << 16), b"")
                    raise ServerRefusal(asked, response.status_code, error_text(said))
                yield response
        except httpx.TimeoutException:
            raise Gone(f"{asked} gave no sign for {deadline:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise Gone(f"{asked}: {transport_error_text(error)}") from None

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.key_env:
            headers["Authorization"] = f"Bearer {os.environ.get(self.key_env, '')}"
        return headers


def wake_reader(connection: socket.socket) -> None:
    """Shut a connection, which wakes the thread that reads it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def error_text(body: bytes) -> str:
    """A server's own words in one line."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, AttributeError, TypeError):
        found = json.loads(text)
        error = found.get("error", found.get("detail", text))
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    return " ".join(text.split())[:SHOWN_CHARACTERS]


def transport_error_text(error: Exception) -> str:
    """Why there was no answer, in words."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
        if isinstance(cause, socket.gaierror):
            return f"no such host ({cause.strerror})"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS there ({cause.reason})"
    if isinstance(error, httpx.RemoteProtocolError):
        return "no HTTP there, or the connection broke off"
    return str(error) or type(error).__name__


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in a line feed: a text within one may hold any other sign that separates lines."""
    kept = b""
    for chunk in chunks:
        *lines, kept = (kept + chunk).split(b"\n")
        yield from lines
