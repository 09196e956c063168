"""Data of a stranger: addresses that lead elsewhere or hold secrets, and files that are larger than they look."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from r1lab_data import files, rows
from r1lab_data.files import masked, read, without_secrets
from r1lab_data.problem import DataError

SECRET = "s3cr3t"


class Hostile(BaseHTTPRequestHandler):
    """Redirects by path, floods, or answers what its path says."""

    def do_GET(self):
        place = self.path.split("?")[0]
        if place.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", place.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(404 if "missing" in place else 200)
        self.end_headers()
        body = {"/good.jsonl": b'{"a": 1}\n', "/bad.jsonl": b"the password is hunter2\n"}.get(place, b"x" * (1 << 20))
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "r1lab"


def refusal(path: str) -> str:
    with pytest.raises(DataError) as caught:
        read(str(path), split="train", config=None, base=None, limit=None)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("url", ["http://example.org/a.jsonl", "http://10.0.0.1/a.jsonl", "HTTP://EXAMPLE.ORG/a.csv"])
def test_an_address_without_https_is_refused(url):
    assert "begins with https://" in refusal(url)


def test_another_host_is_not_asked(address):
    port = address.rpartition(":")[2]
    assert "leads to another host, example.org," in refusal(f"{address}/to/https://example.org/a.jsonl")
    assert "leads to another host, localhost," in refusal(f"{address}/to/http://localhost:{port}/good.jsonl")
    assert "leads to another host" in refusal(f"{address}/to/http://127.0.0.1:1/good.jsonl")
    assert "leads to file://, which is no address on the web" in refusal(f"{address}/to/file:///etc/passwd.jsonl")
    found = read(f"{address}/to/{address}/good.jsonl", split="train", config=None, base=None, limit=None)
    assert found.rows == [{"a": 1}]


def test_a_file_on_the_web_is_bounded_and_leaves_nothing(address, cache, monkeypatch):
    monkeypatch.setattr(files, "MAX_DOWNLOAD_BYTES", 1 << 19)
    assert "larger than 0.000488281 GiB, the most that is fetched" in refusal(f"{address}/large.jsonl")
    assert list(cache.iterdir()) == []


def test_no_message_repeats_a_secret_or_what_a_server_sent(address):
    place = address.replace("http://", f"http://me:{SECRET}@")
    for url in (f"{address}/bad.jsonl?token={SECRET}", f"{address}/missing.jsonl?X-Amz-Signature={SECRET}#{SECRET}",
                f"{place}/a.txt?token={SECRET}", f"{address}/bad.json?{SECRET}",
                f"{address}/to/https://me:{SECRET}@other.org/{SECRET}.jsonl?{SECRET}"):  # fmt: skip
        told = refusal(url)
        assert SECRET not in told.replace(f"/to/https://me:{SECRET}", "") or "/to/" in url
        assert "hunter2" not in told and "xxxx" not in told


@pytest.mark.parametrize(("text", "shown"), [
    ("https://a.org/x.jsonl", "https://a.org/x.jsonl"),
    ("https://a.org/x.jsonl?token=k", "https://a.org/x.jsonl?..."),
    ("https://me:k@a.org/x.jsonl", "https://a.org/x.jsonl"),
    ("https://k@a.org:8443/x#k", "https://a.org:8443/x?..."),
    ("HTTPS://me:k@a.org/x", "HTTPS://a.org/x"),
    ("see 'https://me:k@a.org/x?k', or not", "see 'https://a.org/x?...', or not"),
    ("two: http://u:k@a/ http://b/?k=k", "two: http://a/ http://b/?..."),
    ("https://a.org/path/me@home", "https://a.org/path/me@home"),
    ("me@a.org asks: why?", "me@a.org asks: why?"),
    ("openai/gsm8k", "openai/gsm8k"),
])  # fmt: skip
def test_what_may_be_a_secret_of_an_address_is_masked(text, shown):
    assert masked(text) == shown
    assert without_secrets({"a": [text, 1], "b": {"c": (text, None)}}) == {"a": [shown, 1], "b": {"c": [shown, None]}}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_without_end_ends_in_one_line(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 1 << 20)
    opened = gzip.open if suffix.endswith("gz") else open
    with opened(tmp_path / f"a{suffix}", "wb") as stream:
        stream.write(b'{"a": 1}\n{"a": "')
        for _ in range(3):
            stream.write(b"x" * (1 << 20))
    assert "line 2: longer than 1 MiB" in refusal(tmp_path / f"a{suffix}")


def test_a_compressed_file_is_bounded_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(b'{"a": 1}\n' * (1 << 18))
    assert "holds more than 0 GiB" in refusal(tmp_path / "a.jsonl.gz")


def test_a_parquet_file_that_swells_ends_in_one_line(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": ["x" * 100_000] * 1024}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1 << 20
    monkeypatch.setattr(rows, "MAX_BATCH_BYTES", 16 << 20)
    assert "1,024 rows of it hold more than" in refusal(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + bytes(64) + b"PAR1")
    assert "cannot be read" in refusal(tmp_path / "b.parquet")


def test_deep_json_ends_in_one_line(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" * 200_000 + "\n")
    assert "JSON that Python does not read" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text(json.dumps({"a": 1}) + "\n" + '{"a": ' + "9" * 100_000 + "}\n")
    assert "line 2" in refusal(tmp_path / "b.jsonl")
