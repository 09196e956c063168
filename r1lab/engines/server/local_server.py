"""A server of the local engine: the routes of a vLLM server that the trainer uses, where there is no vLLM.

Made for a trainer: it samples one batch at a time, whole, as the engine in the trainer's own process would, so that the
same weights and requests give the same tokens whatever else was asked. Others get one completion a request, in text
(`/v1/completions`, `/v1/chat/completions`), enough for an evaluation and slow. While a batch is sampled, or waits
for the one before, comments in the stream say that the engine goes on. What starts it is `launch`.
"""

import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError, safe_open

from r1lab.doctor import versions
from r1lab.engines.checksum import Checksum
from r1lab.engines.local.engine import LocalEngine
from r1lab.engines.server.client import FILE
from r1lab.engines.server.connection import GENERATE, GENERATE_BATCH
from r1lab.engines.server.guard import OPEN
from r1lab.engines.text import stopped_at
from r1lab.errors import RecipeError, RunError
from r1lab.policy.frozen import FrozenModel
from r1lab.policy.location import locate
from r1lab.records import Request, RequestId, Role, Rollout, Sampling

SIGN_SECONDS = 1.0
"""Between two signs that a batch goes on."""
MAX_BODY_BYTES = 256 << 20
DTYPES = ("float32", "bfloat16", "float16")
UNFINISHED = "unfinished"
"""Label of weights of which some may have come and others not."""
NO_LIMIT_TOKENS = 1 << 20
"""Context of a model that states none."""


class Refused(Exception):
    """A request that is answered with a status and a line."""

    def __init__(self, status: int, said: str):
        super().__init__(said)
        self.status, self.said = status, said


class LocalServer(ThreadingHTTPServer):
    """Serves a transformers model; `served` is the name it answers by, `key` what every request must bring."""

    daemon_threads = True

    def __init__(self, model, tokenizer, *, served: str, host: str, port: int, dtype: torch.dtype, key: str | None):
        super().__init__((host, port), _Handler)
        self.engine, self.tokenizer = LocalEngine(model, tokenizer, dtype=dtype), tokenizer
        self.engine.sync(((name, weight.detach()) for name, weight in model.named_parameters()), 0)
        self.served, self.key, self.label, self.received = served, key, "as loaded", "none"
        self.busy, self.moves = threading.Lock(), 0
        config = model.config.get_text_config()
        self.facts = {
            "config": json.loads(config.to_json_string(use_diff=False)), "dtype": str(dtype).removeprefix("torch."),
            "context": self.engine.context or NO_LIMIT_TOKENS, "max_num_seqs": self.engine.max_batch, "seeds": True,
            "logprobs_mode": "processed_logprobs", "transfer": FILE, "batches": True,
        }  # fmt: skip
        self.posts: dict[str, Callable[[dict], Any]] = {
            "/collective_rpc": self.call, "/init_weight_transfer_engine": lambda _: None,
            "/start_weight_update": lambda _: self.start_update(), "/update_weights": self.update,
            "/finish_weight_update": self.finish_update, "/reset_prefix_cache": lambda _: {"success": True},
            "/v1/completions": self.complete, "/v1/chat/completions": self.answer,
        }  # fmt: skip

    def call(self, body: dict) -> dict:
        """What a vLLM server asks of each worker: this one is all there are."""
        answers = {"r1lab_facts": self.facts, "r1lab_prepare": None, "r1lab_received": self.received}
        if body["method"] not in answers:
            raise Refused(500, f"no method {body['method']!r}; there are {', '.join(answers)}")
        return {"results": [answers[body["method"]]]}

    def start_update(self) -> None:
        self.label = UNFINISHED

    def update(self, body: dict) -> None:
        """Load a file of weights. What it lacks or has too much is refused, and the weights stay unfinished."""
        path, names = body["update_info"]["path"], body["update_info"]["names"]
        received, version, self.label = Checksum(), self.engine.version + 1, UNFINISHED
        try:
            with self.sampling_stopped(), safe_open(path, framework="pt") as file:
                self.engine.sync(received.over((name, file.get_tensor(name)) for name in names), version)
        except (OSError, SafetensorError, ValueError) as error:
            raise Refused(400, str(error)) from None
        self.received = received.digest()

    def finish_update(self, body: dict) -> None:
        self.label = str(body["weight_version"])

    def complete(self, body: dict) -> dict:
        """One completion of a text."""
        choice, usage = self.said(body, self.tokenizer(str(body["prompt"]))["input_ids"])
        return {"model": self.served, "choices": [choice], "usage": usage}

    def answer(self, body: dict) -> dict:
        """One answer to messages, which the tokenizer's chat template writes."""
        try:
            text = self.tokenizer.apply_chat_template(
                body["messages"], tools=body.get("tools"), tokenize=False, add_generation_prompt=True,
                **body.get("chat_template_kwargs", {}),
            )  # fmt: skip
        except TemplateError as error:
            raise Refused(400, f"the chat template refuses these messages ({str(error)[:200]})") from None
        choice, usage = self.said(body, self.tokenizer(text, add_special_tokens=False)["input_ids"])
        message = {"role": "assistant", "content": choice.pop("text")}
        return {"model": self.served, "choices": [{**choice, "message": message}], "usage": usage}

    def said(self, body: dict, ids: list[int]) -> tuple[dict, dict]:
        """What is sampled behind ids, as text without the stop string, which is named; and how many tokens."""
        if body.get("n", 1) != 1 or body.get("stream"):
            raise Refused(400, "n above 1 and stream: ask for one completion a request, whole")
        if body["model"] != self.served:
            raise Refused(404, f"no model {str(body['model'])[:80]!r}; there is {self.served}")
        given = body.get("stop") or ()
        stops = [given] if isinstance(given, str) else list(map(str, given))
        sampling = {"temperature": 1.0, **body, "max_tokens": body.get("max_tokens", 16), "stop": stops}
        with self.sampling_stopped():
            try:
                self.engine.submit([_request(0, {"token_ids": ids, "sampling_params": sampling})])
                (rollout,) = self.engine.completed()
            except ValueError as error:
                raise Refused(400, str(error)) from None
            except RunError as error:
                raise Refused(500, str(error)) from None
        whole = self.tokenizer.decode(list(rollout.completion_ids), clean_up_tokenization_spaces=False)
        end = stopped_at(whole, (), stops) if rollout.finish == "stop" else None
        by = [] if end is None else [each for each in stops if whole[:end].endswith(each)]
        finish = "length" if rollout.finish == "length" else "stop"
        choice = {
            "index": 0,
            "text": rollout.text,
            "finish_reason": finish,
            "stop_reason": max(by, key=len, default=None),
        }
        return choice, {"prompt_tokens": len(ids), "completion_tokens": len(rollout.completion_ids)}

    @contextmanager
    def sampling_stopped(self, sign: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The engine to oneself; `sign` is called while whoever has it goes on."""
        seen = -1
        while not self.busy.acquire(timeout=SIGN_SECONDS):
            if self.moves != seen:
                sign()
            seen = self.moves
        try:
            yield
        finally:
            self.engine.clear()
            self.busy.release()

    def choices(self, bodies: list[dict], sign: Callable[[], None]) -> list[dict]:
        """The answers to a batch, sampled together and with nothing else."""
        requests = [_request(number, body) for number, body in enumerate(bodies)]
        rollouts: list[Rollout] = []
        with self.sampling_stopped(sign):
            said, label = time.monotonic(), self.label
            try:
                self.engine.submit(requests)
                while len(rollouts) < len(requests):
                    rollouts += self.engine.advance()
                    self.moves += 1
                    if time.monotonic() - said > SIGN_SECONDS:
                        sign()
                        said = time.monotonic()
            except ValueError as error:
                raise Refused(400, str(error)) from None
            except RunError as error:
                raise Refused(500, str(error)) from None
        return [_choice(rollout, label) for rollout in rollouts]


def _request(number: int, body: dict) -> Request:
    """A request by vLLM's names for its parameters (`r1lab.engines.vllm.requests.parameters`)."""
    given = body["sampling_params"]
    named = {name: given[name] for name in ("temperature", "top_p", "top_k", "min_p") if name in given}
    ids, forced = tuple(map(int, body["token_ids"])), int(body.get("forced", 0))
    prompt = len(ids) - forced
    stops = tuple(map(str, given.get("stop", ())))
    return Request(
        RequestId("served", number, 0),
        str(body.get("request_id", "-")),
        ids[:prompt],
        int(given.get("seed", 0)),
        Sampling(max_new_tokens=int(given["max_tokens"]) + forced, stop=stops, **named),
        forced_ids=ids[prompt:],
        forced_role=(Role.PREFIX,) * forced,
    )


def _choice(rollout: Rollout, label: str) -> dict:
    """What was sampled, by vLLM's names."""
    forced = len(rollout.request.forced_ids)
    ids = rollout.completion_ids[forced:]
    return {
        "index": rollout.request.id.draw, "token_ids": list(ids),
        "logprobs": {"content": [{"logprob": value} for value in rollout.engine_logprobs[forced:].tolist()]},
        "finish_reason": "length" if rollout.finish == "length" else "stop",
        "stop_reason": ids[-1] if rollout.finish == "eos" else None,
        "weight_versions": [{"version": label, "start": 0, "end": len(ids)}],
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        models = {"data": [{"id": self.server.served, "max_model_len": self.server.facts["context"]}]}
        routes = {"/health": None, "/version": {"version": f"r1lab {versions.version('r1lab')}"}, "/v1/models": models}
        self.guarded(lambda: self.route(routes))

    def do_POST(self) -> None:
        self.guarded(self.post)

    def guarded(self, answer: Callable[[], None]) -> None:
        """Answer who brings the key; what is wrong with a request is a status and a line."""
        wanted = f"Bearer {self.server.key}"
        given = self.headers.get("Authorization", "")
        try:
            if self.server.key and self.path not in OPEN and not hmac.compare_digest(given.encode(), wanted.encode()):
                raise Refused(401, "the key is missing or wrong")
            answer()
        except Refused as refused:
            self.say(refused.status, {"error": {"message": refused.said}})
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self.say(400, {"error": {"message": f"no such request ({type(error).__name__}: {str(error)[:200]})"}})
        except OSError:  # the client went away
            self.close_connection = True

    def route(self, routes: dict[str, Any]) -> None:
        if self.path not in routes:
            raise Refused(404, "Not Found")
        self.say(200, routes[self.path])

    def post(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if not 0 <= size <= MAX_BODY_BYTES:
            raise Refused(413, f"a body of {size} bytes; at most {MAX_BODY_BYTES}")
        body = json.loads(self.rfile.read(size) or b"{}")
        if self.path == GENERATE:
            self.say(200, {"choices": self.server.choices([body], lambda: None)})
        elif self.path == GENERATE_BATCH:
            self.stream(body["requests"])
        elif self.path in self.server.posts:
            self.say(200, self.server.posts[self.path](body))
        else:
            raise Refused(404, "Not Found")

    def stream(self, bodies: list[dict]) -> None:
        """Signs of life, then the whole batch as one event."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            event: dict = {"choices": self.server.choices(bodies, lambda: self.chunk(b": alive\n\n"))}
        except Refused as refused:
            event = {"error": {"code": refused.status, "message": refused.said}}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            event = {"error": {"code": 400, "message": f"no such request ({type(error).__name__}: {error})"}}
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def say(self, status: int, value: Any) -> None:
        data = b"" if value is None and self.path == "/health" else json.dumps(value).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)


def serve(model: str, *, dtype: str, threads: int | None, host: str, port: int, key_env: str | None = None) -> None:
    """Serve a model until stopped. RecipeError where the engine cannot run it, RunError where the port is taken."""
    if dtype not in DTYPES:
        raise RecipeError(f"--dtype: {dtype!r}; the local engine computes in {', '.join(DTYPES)}")
    if threads is not None:
        torch.set_num_threads(threads)
    frozen, key = FrozenModel(locate(model), "float32"), os.environ[key_env] if key_env else None
    try:
        server = LocalServer(
            frozen.model, frozen.tokenizer, served=model, host=host, port=port, dtype=getattr(torch, dtype), key=key
        )
    except (OSError, OverflowError) as error:
        raise RunError(f"serve: cannot listen at {host}:{port} ({error}); take another --port") from None
    except ValueError as error:
        raise RecipeError(f"serve: {error}") from None
    print(f"r1lab serve: {model} ({dtype}) at http://{host}:{server.server_address[1]}", file=sys.stderr, flush=True)
    server.serve_forever()
