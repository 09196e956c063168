import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from datasets.exceptions import DatasetNotFoundError

from r1lab_data import files
from r1lab_data.files import read
from r1lab_data.problem import DataError

ROW = '{"a": 1}\n'


def rows(path, base=None, split="train", config=None, limit=None):
    return read(str(path), split=split, config=config, base=base, limit=limit).rows


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
    yield served
    served.shutdown()
    served.server_close()


def test_a_relative_path_starts_from_the_base_then_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.jsonl").write_text(ROW)
    monkeypatch.chdir(tmp_path)
    assert rows("a.jsonl", base=tmp_path / "here") == rows("here/a.jsonl", base=tmp_path / "no") == [{"a": 1}]


def test_a_folder_holds_one_file_a_split(tmp_path):
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "test.jsonl").write_text(ROW)
    assert rows(tmp_path, split="test", config="main") == [{"a": 1}]
    with pytest.raises(DataError, match=r"no split 'train'.*holds test\.jsonl"):
        rows(tmp_path / "main")
    (tmp_path / "main" / "test.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="are both split 'test'; name one file"):
        rows(tmp_path / "main", split="test")


def test_shards_of_a_split_are_read_in_order(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "data").mkdir()
    for part in range(2):
        pq.write_table(pa.table({"a": [2 * part, 2 * part + 1]}), tmp_path / f"data/train-0000{part}-of-00002.parquet")
    assert rows(tmp_path, limit=3) == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_a_url_gives_what_its_file_holds_and_an_earlier_copy_when_the_server_is_gone(tmp_path, server, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.jsonl").write_text(ROW)
    url = f"http://127.0.0.1:{server.server_port}/a.jsonl?download=true"
    assert rows(url) == [{"a": 1}]
    (tmp_path / "a.jsonl").write_text('{"a": 2}\n')
    assert rows(url) == [{"a": 2}]
    with pytest.raises(DataError, match=r"b\.jsonl.*cannot be fetched: HTTP Error 404"):
        rows(url.replace("a.jsonl", "b.jsonl"))
    server.shutdown()
    server.server_close()
    assert rows(url) == [{"a": 2}]
    assert [file.suffix for file in (tmp_path / "cache" / "r1lab").iterdir()] == [".jsonl"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no/such.jsonl", "no/such.jsonl: no such file or folder, neither in"),
        ("./openai/gsm8k", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("https://huggingface.co/datasets/openai/gsm8k", "a dataset's page on the hub is given by its id alone"),
        (os.devnull, "a data file ends in one of .jsonl"),
    ],
)
def test_a_path_that_leads_nowhere_says_what_would(path, says):
    with pytest.raises(DataError) as error:
        rows(path)
    assert says in str(error.value)


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"openai/none: not a local path, and the hub at .* cannot be reached"):
        files.probe("openai/none")


def test_a_bare_name_that_nobody_has_names_the_hub_id(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be reached .*; did you mean 'openai/gsm8k'\? \(r1lab eval --on gsm8k"):
        rows("gsm8k")


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (DatasetNotFoundError, "neither a local path nor a dataset on the hub"),
        (ConnectionError, "load it once while online"),
        (ValueError, "first line (split 'train', config 'main')"),
    ],
)
def test_what_the_hub_client_says_becomes_one_line(monkeypatch, raised, says):
    import datasets

    def load_dataset(path, config, split):
        raise raised("first line\nsecond line")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(files, "probe", lambda path: None)
    with pytest.raises(DataError) as error:
        rows("openai/gsm8k", config="main")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hub_dataset_gives_its_first_rows(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **named: datasets.Dataset.from_dict({"a": [1, 2, 3]}))
    monkeypatch.setattr(files, "probe", lambda path: None)
    assert rows("openai/gsm8k", limit=2) == [{"a": 1}, {"a": 2}]
