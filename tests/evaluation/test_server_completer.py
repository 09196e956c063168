"""An OpenAI-compatible server: what is sent, what comes back, and servers that answer nonsense."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

import r1lab
from r1lab.errors import RecipeError, RunError
from r1lab.evaluation import server_completer
from r1lab.recipe import WorkersConfig

KEY = "secret-key"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """server(answer, model=...) -> (URL, requests so far); `answer(body) -> (status, reply)`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server_completer.time, "sleep", lambda _: None)
    rows = [{"prompt": f"{a}+2", "answer": str(a + 2)} for a in range(3)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    running = []

    def start(answer, names=("small",)):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def reply(self, status, body):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.reply(200, {"data": [{"id": name} for name in names]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen.append((self.path, dict(self.headers), body))
                self.reply(*answer(body))

            def log_message(self, *_): ...

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        running.append(httpd)
        return f"http://127.0.0.1:{httpd.server_port}", seen

    yield start
    for httpd in running:
        httpd.shutdown()
        httpd.server_close()


def evaluate(url, model="small", **asked):
    own = {"verifier": "numeric", "workers": WorkersConfig(count=1), "out": "e", "server": url}
    return r1lab.evaluate(model, "sums.jsonl", **{**own, **asked})


def says(text, model="small", **more):
    return 200, {"model": model, "choices": [{"text": text, "finish_reason": "stop"}], **more}


def test_prompts_go_out_by_the_one_renderer_and_verdicts_come_of_what_is_said(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    url, seen = server(lambda body: says(f" {eval(body['prompt'][3:-3])}", usage={"completion_tokens": 3}))
    done = evaluate(url, n=2, format="Q: {prompt}\nA:", stop=["\n"], key_env="MY_KEY", temperature=0.5)
    assert done.figures["avg"]["value"] == 1.0 and done.figures["tokens_mean"] == 3
    assert {path for path, _, _ in seen} == {"/v1/completions"} and len(seen) == 6
    assert {headers["Authorization"] for _, headers, _ in seen} == {f"Bearer {KEY}"}
    body = seen[0][2]
    assert (body["model"], body["stop"], body["temperature"]) == ("small", ["\n"], 0.5)
    assert len({each["seed"] for _, _, each in seen}) == 6
    assert all(KEY not in path.read_text(errors="replace") for path in done.path.iterdir())


def test_a_chat_prompt_is_sent_as_messages(server):
    def chat(body):
        assert [each["role"] for each in body["messages"]] == ["system", "user"]
        return 200, {"model": "small", "choices": [{"message": {"content": "2"}, "finish_reason": "length"}]}

    url, seen = server(chat)
    done = evaluate(url + "/v1/", prompt="chat", system_prompt="Add.")
    assert seen[0][0] == "/v1/chat/completions" and seen[0][2]["messages"][1]["content"].endswith("+2")
    assert done.figures["truncated"] == 1.0 and done.figures["statuses"] == {"correct": 1, "wrong": 2}


def test_a_server_that_does_not_serve_the_model_is_refused(server, tmp_path):
    url, _ = server(lambda body: says("2"), names=("large",))
    with pytest.raises(RecipeError, match="does not serve 'small'; it serves large"):
        evaluate(url)
    assert not (tmp_path / "e").exists()


def test_a_server_that_answers_with_another_model_ends_it(server):
    url, _ = server(lambda body: says("2", model="large"))
    with pytest.raises(RunError, match="answers with the model 'large', not 'small'"):
        evaluate(url)


@pytest.mark.parametrize("reply, told", [
    ((200, b"<html>"), "is no JSON"),
    ((200, {"model": "small"}), "without choices"),
    ((200, {"model": "small", "choices": [{"text": 5}]}), "is no text"),
    ((401, {"error": "no key"}), "401 .*the key is read from OPENAI_API_KEY"),
    ((503, {"error": "busy"}), "503"),
])  # fmt: skip
def test_a_server_that_fails_is_named_in_one_line(server, reply, told):
    url, _ = server(lambda body: reply)
    with pytest.raises(RunError, match=told) as error:
        evaluate(url)
    assert url in str(error.value) and "\n" not in str(error.value)


def test_a_server_that_was_busy_is_asked_again(server):
    replies = iter([(503, {}), (429, {})])
    url, _ = server(lambda body: next(replies, None) or says("2"))
    assert evaluate(url).figures["problems"] == 3


@pytest.mark.parametrize("url, told", [
    ("localhost:8000", "no URL"),
    ("http://me:secret@host/v1", "no URL"),
    ("http://127.0.0.1:9", "cannot be reached"),
])  # fmt: skip
def test_a_place_that_is_no_server_is_refused_without_its_secrets(server, url, told):
    with pytest.raises(RecipeError, match=told) as error:
        evaluate(url)
    assert "secret" not in str(error.value)


def ended(by):
    """A server that ends "<answer>a+2" at `</answer>` or, where asked otherwise, writes on; `by` is what it says."""

    def answer(body):
        total = eval(body["prompt"][3:-3])
        is_asked = "</answer>" in body.get("stop", ())
        text = f"<answer>{total}" if is_asked else f"<answer>{total}</answer> and so on"
        return 200, {"model": "small", "choices": [{"text": text, "finish_reason": "stop", **(by if is_asked else {})}]}

    return answer


@pytest.mark.parametrize("by", [{"stop_reason": "</answer>"}, {"matched_stop": "</answer>"}, {}])
def test_a_string_to_stop_after_stands_in_the_text_whatever_the_server_says(server, by):
    url, seen = server(ended(by))
    done = evaluate(url, format="Q: {prompt}\nA:", stop=["\n"], stop_after=["</answer>"], verifier="exact")
    assert done.figures["avg"]["value"] == 1.0
    rows = pq.read_table(done.path / "completions.parquet").to_pylist()
    assert [row["text"] for row in rows] == [f"<answer>{total}</answer>" for total in (2, 3, 4)]
    assert {row["finish"] for row in rows} == {"stop"} and seen[0][2]["stop"] == ["\n", "</answer>"]


def test_an_end_of_turn_puts_no_stop_string_back(server):
    url, _ = server(lambda body: (200, {"model": "small", "choices": [
        {"text": "2", "finish_reason": "stop", "stop_reason": None}]}))  # fmt: skip
    done = evaluate(url, stop_after=["</answer>"])
    rows = pq.read_table(done.path / "completions.parquet").to_pylist()
    assert {row["text"] for row in rows} == {"2"} and {row["finish"] for row in rows} == {"eos"}


def test_variables_of_the_chat_template_go_to_the_server(server):
    reply = {"model": "small", "choices": [{"message": {"content": "2"}, "finish_reason": "stop"}]}
    url, seen = server(lambda body: (200, reply))
    evaluate(url, prompt="chat", template_variables={"enable_thinking": False})
    assert seen[0][2]["chat_template_kwargs"] == {"enable_thinking": False}
