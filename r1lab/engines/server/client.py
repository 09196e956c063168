"""JSON over HTTP to one vLLM server, with deadlines, on the standard library alone. Knows routes, not rollouts."""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

FILE, NCCL = "r1lab_file", "r1lab_nccl"
"""Names under which the server registers the two ways that weights go to it."""
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
            self.host, self.port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ValueError(f"{url!r} is no URL ({error}); write http://host:port") from None
        if parts.scheme not in ("", "http", "https") or not self.host:
            raise ValueError(f"{url!r} is no URL of a server; write http://host:port")
        self.is_secure = parts.scheme == "https"
        self.path = parts.path.rstrip("/").removesuffix("/v1")
        self.url = f"{parts.scheme or 'http'}://{parts.netloc}{self.path}"
        self.key_env, self.deadline = key_env, deadline

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
            raise ServerRefusal(f"{method} {self.url}{route}", response.status, shown) from None

    def stream(self, route: str, body: dict, opened: Callable[[socket.socket], None]) -> Iterator[dict]:
        """Server-sent events until the server says that it is done. Gone where they end before that.

        Between two events it waits for ever: a server may let one request wait while it answers others. `opened` gets
        the socket, so that another thread can shut it.
        """
        asked = f"POST {self.url}{route}"
        with self._answer("POST", route, body, None, opened) as response:
            for line in response:
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
    ) -> Iterator[http.client.HTTPResponse]:
        asked, deadline = f"{method} {self.url}{route}", deadline or self.deadline
        kind = http.client.HTTPSConnection if self.is_secure else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=deadline)
        try:
            connection.connect()
            if opened is not None:
                connection.sock.settimeout(None)
                opened(connection.sock)
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self.path + route, data, self._headers())
            response = connection.getresponse()
            if response.status != 200:
                raise ServerRefusal(asked, response.status, error_text(response.read(1 << 16)))
            yield response
        except TimeoutError:
            raise Gone(f"{asked} gave no sign for {deadline:g} s") from None
        except ssl.SSLError as error:
            raise Gone(f"{asked}: no TLS there ({error.reason})") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Gone(f"{asked}: {os_error_text(error)}") from None
        finally:
            connection.close()

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


def os_error_text(error: Exception) -> str:
    """An operating system's error in words."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, socket.gaierror):
        return f"no such host ({error.strerror})"
    if isinstance(error, http.client.BadStatusLine):
        return "no HTTP there, or the connection broke off"
    return str(error) or type(error).__name__
