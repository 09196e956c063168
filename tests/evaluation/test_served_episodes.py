"""Episodes over a server: what goes out between turns, and that they are those of the model itself."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import r1lab
from r1lab import embedded
from r1lab.engines.server.local_server import LocalServer
from r1lab.errors import RecipeError
from r1lab.policy.frozen import FrozenModel
from r1lab.recipe import WorkersConfig

RECIPE = {
    "name": "served", "data": {"path": "others.jsonl"}, "verifier": "environment", "steps": 1, "max_new_tokens": 40,
    "prompt": {"format": "Q: {prompt}\nA:"}, "sampling": {"stop_after": ["+", ",", "."]},
    "environment": {"use": "guess", "max_turns": 3, "max_observation_tokens": 60},
}  # fmt: skip


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """serving(server) -> its URL; all are stopped at the end."""
    monkeypatch.chdir(tmp_path)
    for name, letters in {"numbers": "ab", "others": "xyz"}.items():
        rows = [json.dumps({"prompt": f"{letter}?", "answer": str(7 + at)}) for at, letter in enumerate(letters)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    running = []

    def start(server):
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def scripted(*texts):
    """A server that gives these one after the other, and what it was asked."""
    seen, left = [], list(texts)

    class Handler(BaseHTTPRequestHandler):
        def reply(self, body):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self):
            self.reply({"data": [{"id": "small"}]})

        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            text = left.pop(0)
            choice = {"text": text, "message": {"content": text}, "finish_reason": "stop", "stop_reason": None}
            self.reply({"model": "small", "choices": [choice], "usage": {"completion_tokens": len(text)}})

        def log_message(self, *_): ...

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler), seen


def evaluated(url, model="small", out="e", limit=1, **changes):
    """Rows of an evaluation of the recipe over a server, or of a model here."""
    asked = {"server": url} if url else {"threads": 1}
    own = {"verifier": "environment", "source": {"limit": limit}, "out": out, "workers": WorkersConfig(count=1)}
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    path = r1lab.evaluate(model, "numbers.jsonl", recipe=recipe, **{**own, **asked, **changes}).path
    return pq.read_table(path / "completions.parquet").to_pylist()


def test_turns_go_out_behind_the_prompt_in_the_recipes_own_form(serving):
    server, seen = scripted(" 3", " 9", " 7")
    (row,) = evaluated(serving(server))
    assert [each["prompt"] for each in seen] == [
        "Q: a?\nA:", "Q: a?\nA: 3\nQ: higher\nA:", "Q: a?\nA: 3\nQ: higher\nA: 9\nQ: lower\nA:",
    ]  # fmt: skip
    assert [each["max_tokens"] for each in seen] == [40, 38, 36] and len({each["seed"] for each in seen}) == 3
    assert (row["score"], row["finish"], row["num_tokens"], row["text"]) == (1.0, "done", 6, " 3\n 9\n 7")


def test_turns_go_out_as_messages_of_a_chat(serving):
    server, seen = scripted("Is it 3?", "4?", "5?")
    chat = {"prompt": {"template": "chat"}, "environment": {**RECIPE["environment"], "max_turns": 3}}
    (row,) = evaluated(serving(server), recipe=chat)
    assert [(each["role"], each["content"]) for each in seen[-1]["messages"]] == [
        ("user", "a?"), ("assistant", "Is it 3?"), ("user", "higher"), ("assistant", "4?"), ("user", "higher"),
    ]  # fmt: skip
    assert (row["score"], row["finish"]) == (0.0, "turns")


def test_tools_are_told_and_their_answers_are_a_tools_messages(serving):
    server, seen = scripted("<tool>multiply(2, 3)</tool>", "It is 6.")
    tools = {"environment": None, "tools": ["r1lab.environments.arithmetic:multiply"], "prompt": {"template": "chat"},
             "sampling": {}}  # fmt: skip
    evaluated(serving(server), recipe={**tools, "verifier": "numeric"}, verifier="numeric")
    assert seen[0]["tools"][0]["function"]["name"] == "multiply" and seen[0]["tool_choice"] == "none"
    assert seen[1]["messages"][-1] == {"role": "tool", "content": "6"}


@pytest.mark.slow
def test_the_local_engines_server_plays_what_the_engine_here_plays(serving):
    torch.set_num_threads(1)
    frozen = FrozenModel(str(embedded.path()), "float32")
    server = LocalServer(
        frozen.model, frozen.tokenizer, served="embedded", host="127.0.0.1", port=0, dtype=torch.float32, key=None
    )
    one_digit = {"sampling": {"stop_after": list("123456789")}}  # an end of turn that is a token would be lost in text
    asked = {"temperature": 0.0, "limit": 2, "model": "embedded", "recipe": one_digit}
    over, here = (evaluated(url, out=out, **asked) for url, out in ((serving(server), "over"), (None, "here")))
    told = ("problem_id", "index", "text", "finish", "num_tokens", "score", "status", "reason")
    assert [[row[key] for key in told] for row in over] == [[row[key] for key in told] for row in here]
    assert any("\n" in row["text"] for row in over)
    origins = [json.loads(Path(out, "manifest.json").read_text())["identity"]["origin"] for out in ("over", "here")]
    assert origins[0]["turns"] == "text" and "turns" not in origins[1]


def test_a_frame_in_the_models_own_message_is_refused_over_chat(serving):
    server, _ = scripted()
    framed = {"prompt": {"template": "chat"}, "environment": {**RECIPE["environment"], "frame": "<{observation}>"}}
    with pytest.raises(RecipeError, match="take template plain"):
        evaluated(serving(server), recipe=framed)
