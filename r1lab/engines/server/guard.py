"""A server's key on every route: vLLM itself asks for it on `/v1` and `/inference` alone, not where weights come in.

An ASGI middleware, which vLLM loads by name (`--middleware`). Not encryption: the key goes over the line as it is.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
OPEN = frozenset({"/health", "/ping"})
"""Routes that tell that the server lives, and nothing else."""


class KeyGuard:
    """Answers 401 to who does not bring the key of VLLM_API_KEY."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self.app = app
        self.wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        given = dict(scope.get("headers") or ()).get(b"authorization", b"")
        is_request = scope["type"] in ("http", "websocket")
        if not is_request or scope["path"] in OPEN or hmac.compare_digest(given, self.wanted):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "the key is missing or wrong"}'})
