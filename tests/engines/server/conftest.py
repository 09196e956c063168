"""A small server that speaks the routes of vLLM 0.32 as they were recorded, with the local engine behind them."""

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import load_file

from r1lab.engines import make
from r1lab.engines.checksum import Checksum
from r1lab.engines.server.engine import ServerEngine
from r1lab.engines.sync import send
from r1lab.records import Request, RequestId, Sampling


class Routes(ThreadingHTTPServer):
    """`model` is what it serves; what a test changes are plain fields."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, model, tokenizer, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.engine = make("local", model, tokenizer)
        send(self.engine, model.named_parameters, 0)
        self.facts = {
            "config": model.config.to_dict(), "dtype": "float32", "context": 128, "max_num_seqs": 4, "seeds": True,
            "transfer": "r1lab_file", "logprobs_mode": "processed_logprobs",
        }  # fmt: skip
        self.version, self.received, self.names = "default", "none", ("r1lab_facts", "r1lab_prepare", "r1lab_received")
        self.replies, self.key, self.damage = {}, None, lambda weights: weights
        self.served, self.lock, self.hang, self.die_at = Counter(), threading.Lock(), threading.Event(), None
        self.connections, self.drops_cache, self.is_broken, self.over = [], True, False, threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def kill(self):
        """What the kernel does of kill -9: nothing listens, every connection is reset."""
        self.shutdown()
        self.server_close()
        self.over.set()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(2)

    def handle_error(self, *_):
        """Clients leave when they like."""

    def load(self, path, names):
        weights, received = load_file(path), Checksum()
        for name in names:
            received.add(name, self.damage(weights[name]))
        self.received = received.digest()
        send(self.engine, lambda: weights.items(), self.engine.version + 1)

    def generate(self, body):
        """The engine's answer as the events of a stream, one a token."""
        given = body["sampling_params"]
        names = {"temperature", "top_p"} & given.keys()
        settings = {name: given[name] for name in names} | {"stop": tuple(given.get("stop", ()))}
        sampling = Sampling(max_new_tokens=given["max_tokens"], **settings)
        request = Request(RequestId("x", 0, 0), "p", tuple(body["token_ids"]), given.get("seed", 0), sampling)
        with self.lock:
            self.engine.submit([request])
            (rollout,) = self.engine.completed()
        ended = {"eos": ("stop", 1), "stop": ("stop", "\n"), "length": ("length", None)}[rollout.finish]
        span = [{"version": self.version, "start": 0, "end": len(rollout.completion_ids)}]
        for at, (token, logprob) in enumerate(zip(rollout.completion_ids, rollout.engine_logprobs.tolist())):
            last = at + 1 == len(rollout.completion_ids)
            yield {"choices": [{
                "index": 0, "token_ids": [token], "logprobs": {"content": [{"token_id": token, "logprob": logprob}]},
                "finish_reason": ended[0] if last else None, "stop_reason": ended[1] if last else None,
                "weight_versions": span if last else None,
            }]}  # fmt: skip


def whole(events):
    """One answer of all events of a stream."""
    choices = [event["choices"][0] for event in events]
    content = [each for choice in choices for each in choice["logprobs"]["content"]]
    ids = [token for choice in choices for token in choice["token_ids"]]
    return {"choices": [choices[-1] | {"token_ids": ids, "logprobs": {"content": content}}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        self.server.connections.append(self.connection)
        super().handle()

    def do_GET(self):
        self.answer({
            "/version": {"version": "0.32.0"}, "/health": "", "/v1/models": {"data": [{"id": "served"}]},
        })  # fmt: skip

    def do_POST(self):
        server, path = self.server, self.path
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null")
        while server.hang.is_set():
            time.sleep(0.01)
        if path == "/inference/v1/generate" and body.get("stream"):
            return self.stream(body)
        if path == "/inference/v1/generate" and path not in server.replies:
            return self.answer({path: whole(server.generate(body))})
        if path == "/collective_rpc":
            name = body["method"]
            if name not in server.names:
                return self.send(500, {"error": {"message": f"'CPUWorker' object has no attribute '{name}'"}})
            results = {"r1lab_facts": server.facts, "r1lab_received": server.received}
            return self.answer({path: {"results": [results.get(name)]}})
        if path == "/update_weights" and path not in server.replies:
            server.load(**body["update_info"])
        if path == "/finish_weight_update":
            server.version = body["weight_version"]
        known = ("/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/finish_weight_update")
        done = {route: {"message": "done"} for route in known}
        self.answer({**done, "/reset_prefix_cache": {"success": server.drops_cache}})

    def stream(self, body):
        server = self.server
        if server.is_broken:
            return self.send(500, {"error": {"message": "EngineCore encountered an issue"}})
        server.served[body["request_id"].split("/", 1)[1].rsplit("/", 1)[0]] += 1
        events = list(server.generate(body))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate([*events, None]):
            if number == 1 and server.die_at is not None and sum(server.served.values()) >= server.die_at:
                server.die_at = None
                threading.Thread(target=server.kill).start()
                time.sleep(5)
            data = b"data: " + (json.dumps(event).encode() if event else b"[DONE]") + b"\n\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, routes):
        guarded = self.path.startswith(("/v1", "/inference"))
        if guarded and self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return self.send(401, {"error": "Unauthorized"})
        if self.path in self.server.replies:
            return self.send(*self.server.replies[self.path])
        if self.path not in routes:
            return self.send(404, {"detail": "Not Found"})
        return self.send(200, routes[self.path])

    def send(self, status, value):
        data = b"" if value == "" else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def serve(lab, tokenizer):
    """serve(model=None, own=tokenizer, port=0) -> Routes; all are stopped at the test's end."""
    started = []

    def start(model=None, own=None, port=0):
        started.append(Routes(model or lab.llama(seed=9), own or tokenizer, port))
        return started[-1]

    yield start
    for routes in started:
        routes.hang.clear()
        routes.kill()


@pytest.fixture
def connect(lab, tokenizer):
    """connect(*servers, **settings) -> (engine, lines); weights are those of `lab.llama()`."""
    engines = []

    def start(*servers, sync=True, **settings):
        lines, model = [], lab.llama()
        urls = [each if isinstance(each, str) else each.url for each in servers]
        settings = {"deadline": 20.0, "reconnect": 30.0, "say": lines.append, **settings}
        engines.append(ServerEngine(model, tokenizer, urls=urls, **settings))
        engines[-1].fleet.retry_seconds = 0.1
        if sync:
            send(engines[-1], model.named_parameters, 3)
        return engines[-1], lines

    yield start
    for engine in engines:
        engine.close()
