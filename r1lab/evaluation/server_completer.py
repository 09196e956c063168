"""Completions of an OpenAI-compatible server: /v1/completions, or /v1/chat/completions where the prompt is `chat`.

Text goes out and text comes back: the server tokenises, applies its own chat template and strips stop strings. The key
is read from an environment variable and stands in no file. A server that answers with another model is refused.
"""

import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx

from r1lab.engines.text import stopped_at
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation.completers import Completion, Verify
from r1lab.evaluation.served_episodes import Said, ServedEpisodes
from r1lab.recipe.data import PromptConfig
from r1lab.records import Asking, RequestId, Sampling
from r1lab.rollout.environment import Worlds
from r1lab.rollout.renderer import opening_of, renderer_of
from r1lab.seeds import derive
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

KEY_VARIABLE = "OPENAI_API_KEY"
REQUESTS_AT_ONCE = 16
"""Requests in flight."""
TRIES, REPLY_SECONDS = 4, 300.0
"""Tries of one request, and seconds that one may take."""
MAX_REPLY_BYTES = 16 << 20
"""Bytes of one reply."""
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
FINISH = {"stop": "eos", "length": "length"}
UNSAID = object()
"""Of a server that does not say which string, if any, ended a completion; vLLM and SGLang do."""


class Served:
    """Completions of a server's model, which every reply must name."""

    together = 256

    def __init__(
        self, url: str, model: str, prompt: PromptConfig, *, key_env: str = KEY_VARIABLE, worlds: Worlds | None = None
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise RecipeError(
                f"--server: {_place(url)!r} is no URL such as http://localhost:8000/v1 "
                f"(a key goes into the environment variable {key_env})"
            )
        self.url = url.rstrip("/") if url.rstrip("/").endswith("/v1") else f"{url.rstrip('/')}/v1"
        self.model, self.is_chat = model, prompt.template == "chat"
        if self.is_chat and prompt.prefill_think:
            raise RecipeError("--prefill-think: a server writes the chat prompt itself; leave it out, or use plain")
        self.says_what_stopped = True
        key, self.key_env = os.environ.get(key_env), key_env
        # No redirect is followed: it would take prompts and key to whoever it names.
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            verify=ssl.create_default_context(),
            timeout=REPLY_SECONDS,
        )
        self.renderer = renderer_of(_ServersTokenizer(), prompt, None)
        self.identity = {"server": _place(self.url), "model": model}
        self.episodes = ServedEpisodes(worlds, self.renderer) if worlds else None
        if worlds:
            self.identity |= {**worlds.identity, "turns": "messages" if self.is_chat else "text"}

    def check(self, asking: Asking) -> None:
        """RecipeError where the server cannot be asked, or does not serve the model."""
        try:
            reply = self._reply("models", None)
        except RunError as error:
            raise RecipeError(f"--{error}") from None
        listed = reply.get("data")
        names = [str(each.get("id")) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        if self.model not in names:
            served = ", ".join(names[:8]) or "none that it names"
            raise RecipeError(f"--server {_place(self.url)}: does not serve {self.model!r}; it serves {served}")

    def prompt_of(self, problem: Problem) -> str | None:
        return None if self.is_chat else self.renderer.prompt_text(problem)

    def misfit(self, problem: Problem, max_new_tokens: int) -> str | None:
        return None

    def answers(self, asking: Asking, rows: range, verify: Verify) -> Iterator[tuple[Completion, Verdict]]:
        """A completion is one request of its own, with its own seed; several are asked for at once."""
        eval_set = asking.eval_set

        def ask(row: int, index: int):
            problem, name = eval_set.problems[row], RequestId(f"eval/{eval_set.name}", row, index)
            if self.episodes is not None:
                answer = self.episodes.play(self._ask, problem, name, asking.sampling, asking.seed)
            else:
                answer = self._ask(problem, index, asking.sampling, derive(asking.seed, *name[:3]))
            return answer, verify(answer, problem)

        threads = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="ask")
        try:
            asked = [threads.submit(ask, row, index) for row in rows for index in range(asking.n)]
            for each in asked:
                answer, verdict = each.result()
                yield answer, verdict.result()
        finally:
            threads.shutdown(cancel_futures=True)

    def _ask(self, problem: Problem, index: int, sampling: Sampling, seed: int, said: Said = ()) -> Completion:
        """`said` is what stands behind the problem's own words, the model's turns and what was observed."""
        # Servers take seeds of 32 bits with a sign.
        body: dict[str, Any] = {
            "model": self.model, "max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature,
            "top_p": sampling.top_p, "seed": seed % 2**31, "n": 1,
        }  # fmt: skip
        if self.is_chat:
            body["messages"], opening = [*self.renderer.messages(problem), *map(dict, said)], ""
            if self.episodes is not None and (tools := self.episodes.tools_of(problem)):
                body |= {"tools": tools, "tool_choice": "none"}  # calls stay in the text, where they are read
            if self.renderer.template_variables:
                body["chat_template_kwargs"] = self.renderer.template_variables
        else:
            prompt = self.renderer.prompt_text(problem)
            body["prompt"] = self.episodes.text_of(problem, said, prompt) if self.episodes is not None else prompt
            opening = "" if said else opening_of(prompt)
        is_told = self.says_what_stopped
        stops = sampling.all_stops if is_told else sampling.stop
        choice, tokens = self._choice(problem, body | ({"stop": list(stops)} if stops else {}))
        stopped_by = choice.get("stop_reason", choice.get("matched_stop", UNSAID))
        if sampling.stop_after and choice["finish"] == "stop" and stopped_by is UNSAID and is_told:
            # Stripped and not named it cannot be put back: from now on such a string is looked for here.
            self.says_what_stopped = False
            return self._ask(problem, index, sampling, seed, said)
        text, finish = choice["text"], FINISH.get(choice["finish"], "stop")
        if isinstance(stopped_by, str):
            text, finish = text + (stopped_by if stopped_by in sampling.stop_after else ""), "stop"
        elif (end := stopped_at(text, (), sampling.stop_after)) is not None:
            text, finish = text[:end], "stop"
        return Completion(problem.id, index, opening + text, finish, tokens)

    def _choice(self, problem: Problem, body: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
        """The reply's one choice with its `text` and `finish` checked, and its tokens where they are told."""
        reply = self._reply("chat/completions" if self.is_chat else "completions", body)
        if reply.get("model") != self.model:
            raise RunError(
                f"server {_place(self.url)}: answers with the model {str(reply.get('model'))[:80]!r}, not "
                f"{self.model!r}; name that one, or ask another server"
            )
        try:
            choice = reply["choices"][0]
            text = choice["message"]["content"] if self.is_chat else choice["text"]
            finish, tokens = choice.get("finish_reason"), (reply.get("usage") or {}).get("completion_tokens")
            choice = dict(choice)
        except (LookupError, TypeError, AttributeError):
            raise RunError(f"server {_place(self.url)}: a reply without choices for {problem.id!r}") from None
        if not isinstance(text, str | None):
            raise RunError(f"server {_place(self.url)}: a completion of {problem.id!r} is no text")
        choice |= {"text": text or "", "finish": finish if isinstance(finish, str) else ""}
        return choice, tokens if type(tokens) is int and tokens >= 0 else None

    def _reply(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """What the server says, after some tries where it is busy. RunError in one line."""
        for left in reversed(range(TRIES)):
            try:
                response, text = self._asked(path, body)
                reply = json.loads(text) if response.is_success else None
            except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
                problem, is_over = f"cannot be reached ({error or type(error).__name__})", body is None
            except (ValueError, RecursionError):
                problem, is_over = f"the reply to /{path} is no JSON", True
            else:
                if isinstance(reply, dict):
                    return reply
                problem, is_over = f"the reply to /{path} is no JSON object", True
                if not response.is_success:
                    problem, is_over = self._said(response, text), response.status_code not in BUSY
            if is_over or not left:
                break
            time.sleep(2.0 ** (TRIES - left - 1))
        raise RunError(f"server {_place(self.url)}: {problem}; what was answered is kept, the same command goes on")

    def _asked(self, path: str, body: Mapping[str, Any] | None) -> tuple[httpx.Response, bytes]:
        """The reply and the first MAX_REPLY_BYTES of its text."""
        text = b""
        with self.client.stream("GET" if body is None else "POST", f"{self.url}/{path}", json=body) as response:
            for part in response.iter_bytes():
                text += part
                if len(text) >= MAX_REPLY_BYTES:
                    break
        return response, text[:MAX_REPLY_BYTES]

    def _said(self, response: httpx.Response, text: bytes) -> str:
        """The server's refusal, with the remedy where it is the key."""
        said = " ".join(text[:2000].decode("utf-8", "replace").split())[:200]
        hint = f"; the key is read from {self.key_env}" if response.status_code in (401, 403) else ""
        return f"answers {response.status_code} {response.reason_phrase}: {said}{hint}"

    def close(self) -> None:
        self.client.close()
        if self.episodes is not None:
            self.episodes.close()


class _ServersTokenizer:
    """A placeholder where a renderer needs a tokenizer: text alone is rendered, the server tokenises."""

    bos_token_id = eos_token_id = eos_token = None
    chat_template = True  # the server's own

    def apply_chat_template(self, messages, **_) -> str:
        return "\n".join(message["content"] for message in messages)


def _place(url: str) -> str:
    """The URL without user, key and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
