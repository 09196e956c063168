import gzip
import json
from itertools import islice

import pytest

from r1lab_data.problem import DataError
from r1lab_data.rows import read_file


def read(file, limit=None):
    return read_file(file, file.name, split="train", limit=limit)


def test_json_lines_survive_a_mark_blank_lines_crlf_and_odd_line_ends_in_texts(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": "x\xe2\x80\xa8y"}')
    table = read(file)
    assert table.rows == [{"a": 1}, {"a": "x\u2028y"}]
    assert table.where(1) == "a.jsonl, line 4"


def test_rows_of_ten_megabytes_are_read(tmp_path):
    long = "x" * 10_000_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": long}))
    (tmp_path / "a.csv").write_text(f'a,b\n"{long}",1\n')
    assert read(tmp_path / "a.jsonl").rows == [{"a": long}]
    assert read(tmp_path / "a.csv").rows == [{"a": long, "b": "1"}]


def test_every_format_gives_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"a": "1,000", "b": "x\ny"}, {"a": "007", "b": '"'}]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "c.json").write_text(json.dumps({"train": rows, "test": []}))
    (tmp_path / "d.json").write_text(lines)
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "f.csv").write_text('\ufeffa,b\n"1,000","x\ny"\n007,""""\n', newline="")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "g.parquet")
    for file in sorted(tmp_path.iterdir()):
        assert read(file).rows == rows, file.name
        assert read(file, limit=1).rows == rows[:1], file.name


def test_a_limit_stops_reading(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\nbroken')
    assert read(file, limit=1).rows == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "a.jsonl: no rows"),
        ("a.json", b"", "a.json: no rows"),
        ("a.csv", b"a,b\n", "a.csv: no rows"),
        ("a.jsonl", b'{"a": 1}\n{"a": }', "a.jsonl, line 2: invalid JSON, Expecting value at character 6"),
        ("a.jsonl", b"[1]", "a.jsonl, line 1: [1] is no JSON object"),
        ("a.jsonl", b"\xff", "a.jsonl, line 1: byte 0 is not UTF-8"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", "a.jsonl, line 1: JSON that Python does not read"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: JSON that Python does not read"),
        ("a.json", b'{"test": []}', "neither a list of objects nor an object with a list 'train'"),
        ("a.json", b"[1]", "a.json, row 0: 1 is no JSON object"),
        ("a.csv", b"a,b\n1,2,3\n", "a.csv, row 0: not as many cells"),
        ("a.csv", b"a\n\xff\n", "a.csv: no readable CSV"),
        ("a.parquet", b"no", "a.parquet: no readable parquet"),
        ("a.jsonl.gz", b"no", "a.jsonl.gz: cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99, mtime=0)[:20], "a.jsonl.gz: cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_place(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_the_limit_of_the_csv_module_is_put_back(tmp_path):
    import csv

    before = csv.field_size_limit()
    (tmp_path / "a.csv").write_text("a\n1\n2\n3\n")
    list(islice(read(tmp_path / "a.csv", limit=1).rows, 1))
    assert csv.field_size_limit() == before
