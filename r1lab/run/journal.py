"""Parquet tables of completions. The rollout table is the journal: a step is rebuilt from it, bit for bit. What is
derived from it, samples with their advantages and scores, stands in a table of its own (`read_rows` joins the two).

One row a completion. Floats keep every bit (float32 lists in the arrays' own type, JSON numbers as Python's shortest
repr), and a checksum covers every byte. Numbers that a verifier returned as int or bool come back as float.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from r1lab.errors import RunError
from r1lab.records import (
    Draw,
    Group,
    Request,
    RequestId,
    Role,
    Rollout,
    Sample,
    Sampling,
    Scored,
    Settled,
    TurnRecord,
)  # fmt: skip
from r1lab.run.files import atomic_file
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

TextOfPrompt = Callable[[Rollout], str]
KIND, SUM = b"r1lab", 16
ROLLOUTS, SAMPLES = b"rollouts/2", b"samples/1"
REQUEST = ("purpose", "draw", "index")
SAMPLING = {
    "temperature": pa.float64(), "top_p": pa.float64(), "top_k": pa.int64(), "min_p": pa.float64(),
    "max_new_tokens": pa.int64(), "stop": pa.list_(pa.string()),
    "stop_after": pa.list_(pa.string()),
}  # fmt: skip
VERDICT = {
    "score": pa.float64(), "status": pa.string(), "extracted": pa.string(), "reason": pa.string(),
    "steps": pa.string(), "seconds": pa.float64(),
}  # fmt: skip
OF_TOKENS = {"completion_ids": np.int32, "role": np.int8, "engine_logprobs": np.float32, "version": np.int32}
LISTS = ("prompt_ids", "forced_ids", "forced_role", *OF_TOKENS)
LEARNED = ("advantage", "scale", "old", "ref", "values", "returns")
NEEDED = (
    "purpose", "draw", "index", "problem_id", "group_size", "seed", *SAMPLING, *LISTS, "finish", "text", "decision",
    "member", *VERDICT, "verdicts", "reward", "parts",
)  # fmt: skip
"""Columns that a step is rebuilt from."""
assert [*SAMPLING] == [field.name for field in fields(Sampling)]
assert [*VERDICT] == [field.name for field in fields(Verdict) if field.compare]


def write_block(path: Path, block: list[Settled], text_of_prompt: TextOfPrompt | None = None) -> None:
    """Every completion drawn for a step, atomically, in draw order; those of dropped groups and errors too.

    ValueError where `kept` holds what was not drawn.
    """
    rows = [(settled, scored) for settled in block for scored in settled.drawn.members]
    _check(block, rows)
    rollouts = [scored.rollout for _, scored in rows]
    columns = {
        **_id_columns(rollouts),
        "problem_id": pa.array([rollout.request.problem_id for rollout in rollouts], pa.string()),
        "source": pa.array([settled.drawn.draw.problem.source for settled, _ in rows], pa.string()),
        "group_size": pa.array([settled.drawn.draw.group_size for settled, _ in rows], pa.int64()),
        **_request_columns([rollout.request for rollout in rollouts]),
        **_rollout_columns(rollouts, text_of_prompt),
        "decision": pa.array([settled.reason for settled, _ in rows], pa.string()),
        "member": pa.array([_member(settled, scored) for settled, scored in rows], pa.string()),
        **_verdict_columns([scored.verdict for _, scored in rows]),
        **_reward_columns([scored for _, scored in rows]),
    }
    write(path, columns, {KIND: ROLLOUTS})


def read_block(path: Path, problem_of: Callable[[str], Problem]) -> list[Settled]:
    """What `write_block` wrote, in draw order; `problem_of` gives the problem of an id or raises KeyError."""
    rows = whole_rows(path, "remove it to sample the step anew", "start anew with another out=")
    try:
        return [_settled(list(group), problem_of) for _, group in groupby(rows, key=lambda row: row["draw"])]
    except KeyError as error:
        raise RunError(f"{path}: problem {error} is not in the data; start a new run for other data") from error


def whole_rows(path: Path, of_damaged: str, of_older: str) -> list[dict[str, Any]]:
    """Every column that a step is rebuilt from, a row a completion, lists as arrays. RunError with its remedy for a
    table that is damaged, or that an older version wrote."""
    table = read(path, ROLLOUTS, of_damaged)
    if missing := [name for name in NEEDED if name not in table.column_names]:
        raise RunError(
            f"{path}: an older version of r1lab wrote this table, which lacks {', '.join(missing)}; go on with that "
            f"version (manifest.json names it), or {of_older}"
        )
    lists = {name: _arrays(table, name) for name in LISTS}
    plain = table.drop_columns([*LISTS, *(name for name in table.column_names if _is_for_people(name))])
    rows = plain.to_pylist()
    for position, row in enumerate(rows):
        row |= {name: arrays[position] for name, arrays in lists.items()}
    return rows


def sample_rows(path: Path, of_damaged: str) -> list[dict[str, Any]]:
    """The rows that `write_samples` wrote. RunError as of `whole_rows`."""
    return read(path, SAMPLES, of_damaged).to_pylist()


def write_samples(path: Path, updates: Sequence[Sequence[Sample]]) -> None:
    """One row a sample of a step in the order of its updates, numbered from 0: what the rollout became. A rollout that
    is learned twice has two, of different roles."""
    numbered = [(number, sample) for number, samples in enumerate(updates) for sample in samples]
    samples = [sample for _, sample in numbered]
    columns = {
        **_id_columns([sample.rollout for sample in samples]),
        "update": pa.array([number for number, _ in numbered], pa.int64()),
        "sample_role": _lists([sample.role for sample in samples], np.int8),
        **{name: _lists([getattr(sample, name) for sample in samples], np.float32) for name in LEARNED},
        "left_out": pa.array([sample.left_out for sample in samples], pa.string()),
    }
    write(path, columns, {KIND: SAMPLES})


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of a rollout table as plain data, for people: those of `columns` that it has, and those of its samples, None
    where a completion has none, the first where it has two. ValueError where a table is not readable."""
    rows = _plain_rows(path, columns)
    beside = path.parent.parent / "samples" / path.name
    derived = [name for name in columns if name in (*LEARNED, "left_out", "update", "sample_role")]
    if not derived or not rows or not beside.is_file():
        return rows
    ids = [tuple(row.values()) for row in _plain_rows(path, REQUEST)]
    found = {tuple(row[name] for name in REQUEST): row for row in reversed(_plain_rows(beside, (*REQUEST, *derived)))}
    return [row | {name: found.get(key, {}).get(name) for name in derived} for key, row in zip(ids, rows, strict=True)]


def _plain_rows(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    try:
        names = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in columns if name in names]).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path}: not readable as parquet ({error}); remove the file to do without it") from None


def _check(block: Sequence[Settled], rows: list[tuple[Settled, Scored]]) -> None:
    """ValueError for a block that the table could not give back as it was."""
    names = [scored.rollout.request.id for _, scored in rows]
    if len(set(names)) < len(names):
        raise ValueError(f"request {next(name for name in names if names.count(name) > 1)} stands twice in a block")
    for settled, scored in rows:
        request, draw = scored.rollout.request, settled.drawn.draw
        if (request.id.draw, request.problem_id) != (draw.number, draw.problem.id):
            raise ValueError(f"request {request.id} of {request.problem_id!r} stands in draw {draw.number}")
    for settled in block:
        if not settled.drawn.members:
            raise ValueError(f"draw {settled.drawn.draw.number} has no completion")
        if settled.kept is not None:
            kept = [scored for scored in settled.drawn.members if _member(settled, scored)]
            if not kept or list(map(id, kept)) != list(map(id, settled.kept.members)):
                raise ValueError(f"draw {settled.drawn.draw.number}: `kept` must be members of `drawn`, in order")


def _member(settled: Settled, scored: Scored) -> str:
    kept = settled.kept is not None and any(scored is each for each in settled.kept.members)
    return "kept" if kept else ""


def _id_columns(rollouts: Sequence[Rollout]) -> dict[str, pa.Array]:
    ids = [rollout.request.id for rollout in rollouts]
    return {name: pa.array([getattr(each, name) for each in ids], pa.string() if name == "purpose" else pa.int64())
            for name in REQUEST}  # fmt: skip


def _request_columns(requests: list[Request]) -> dict[str, pa.Array]:
    sampling = [request.sampling for request in requests]
    return {
        "prompt_ids": _lists([request.prompt_ids for request in requests], np.int32),
        "seed": pa.array([request.seed for request in requests], pa.int64()),
        **{name: pa.array([getattr(each, name) for each in sampling], kind) for name, kind in SAMPLING.items()},
        "forced_ids": _lists([request.forced_ids for request in requests], np.int32),
        "forced_role": _lists([request.forced_role for request in requests], np.int8),
    }


def _rollout_columns(rollouts: list[Rollout], text_of_prompt: TextOfPrompt | None) -> dict[str, pa.Array]:
    prompts = [text_of_prompt(rollout) if text_of_prompt else None for rollout in rollouts]
    return {
        **{name: _lists([getattr(rollout, name) for rollout in rollouts], kind) for name, kind in OF_TOKENS.items()},
        "finish": pa.array([rollout.finish for rollout in rollouts], pa.string()),
        "text": pa.array([_utf8(rollout.text) for rollout in rollouts], pa.string()),
        "prompt_text": pa.array(prompts, pa.string()),
        "num_tokens": pa.array([rollout.length for rollout in rollouts], pa.int64()),
        "turns": pa.array([_turns_text(rollout.turns) for rollout in rollouts], pa.string()),
    }


def _turns_text(turns: Sequence[TurnRecord]) -> str | None:
    """Null where the problem has no environment."""
    return json.dumps([asdict(turn) for turn in turns], allow_nan=False) if turns else None


def _verdict_columns(verdicts: list[Verdict | None]) -> dict[str, pa.Array]:
    def column(name):
        convert = json.dumps if name == "steps" else float if name in ("score", "seconds") else _utf8
        values = [None if verdict is None else getattr(verdict, name) for verdict in verdicts]
        return pa.array([None if value is None else convert(value) for value in values], VERDICT[name])

    return {name: column(name) for name in VERDICT}


def _utf8(text: str) -> str:
    """The text itself; half a surrogate pair, which no file holds, is spelled out. A completion never ends a run."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _reward_columns(members: list[Scored]) -> dict[str, pa.Array]:
    """`verdicts` and `parts` as JSON in their own order; `part/<name>` beside them for people."""
    further = [json.dumps({name: _plain(each) for name, each in scored.verdicts.items()}) for scored in members]
    second = [_json(scored.second and _plain(scored.second)) for scored in members]
    parts = [{name: float(value) for name, value in scored.parts.items()} for scored in members]
    names = sorted({name for each in parts for name in each})
    return {
        "verdicts": pa.array(further, pa.string()),
        "second": pa.array(second, pa.string()),
        "raw": pa.array([json.dumps(scored.raw) for scored in members], pa.string()),
        "reward": pa.array([scored.reward for scored in members], pa.float64()),
        "parts": pa.array([json.dumps(each) for each in parts], pa.string()),
        "replayed_from": pa.array([scored.replayed_from for scored in members], pa.string()),
        "credited_steps": pa.array([_json(scored.steps) for scored in members], pa.string()),
        **{f"part/{name}": pa.array([each.get(name) for each in parts], pa.float64()) for name in names},
    }


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value)


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {name: getattr(verdict, name) for name in VERDICT}


def _lists(values: Sequence[Iterable | None], dtype: type) -> pa.LargeListArray:
    """One list a row, None as null. Arrays must have the dtype already: nothing is rounded on the way."""
    given: list[Any] = [() if value is None else value for value in values]
    offsets = np.zeros(len(given) + 1, np.int64)
    np.cumsum([len(value) for value in given], out=offsets[1:])
    arrays = [value for value in given if isinstance(value, np.ndarray)]
    if wrong := next((array.dtype for array in arrays if array.dtype != dtype), None):
        raise ValueError(f"a column of {np.dtype(dtype)} got an array of {wrong}")
    if arrays:
        flat = np.concatenate([np.asarray(value, dtype) for value in given])
    else:
        flat = np.fromiter(chain.from_iterable(given), dtype, offsets[-1])
    missing = pa.array([value is None for value in values], pa.bool_())
    # Not from pandas, which would make nulls of NaNs.
    return pa.LargeListArray.from_arrays(offsets, pa.array(flat, from_pandas=False), mask=missing)


def write(path: Path, columns: dict[str, pa.Array], metadata: dict[bytes, bytes]) -> None:
    """A parquet file with a checksum of all its bytes in the gap that the format allows before the footer."""
    table = pa.table(columns).replace_schema_metadata(metadata)
    strings = [name for name, array in columns.items() if pa.types.is_string(array.type)]
    sink = pa.BufferOutputStream()
    # A dictionary of floats would fold NaNs together. The stubs know `use_dictionary` as a bool only.
    pq.write_table(table, sink, compression="zstd", use_dictionary=strings)  # pyright: ignore[reportArgumentType]
    parquet = sink.getvalue().to_pybytes()
    footer = _footer(parquet)
    atomic_file(path, lambda temporary: temporary.write_bytes(parquet[:footer] + _checksum(parquet) + parquet[footer:]))


def read(path: Path, kind: bytes, remedy: str) -> pa.Table:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"table {path} cannot be read ({error.strerror}); {remedy}") from error
    footer = max(_footer(data), SUM)
    parquet = data[: footer - SUM] + data[footer:]
    if data[footer - SUM : footer] != _checksum(parquet):
        raise RunError(f"table {path} is damaged, or was not written by r1lab; {remedy}")
    table = pq.read_table(pa.BufferReader(parquet))
    if table.schema.metadata[KIND] != kind:
        raise RunError(f"table {path} is of kind {table.schema.metadata[KIND].decode()}, not {kind.decode()}; {remedy}")
    return table


def _footer(parquet: bytes) -> int:
    """Where the footer begins: the file ends in its length and four bytes of magic."""
    return len(parquet) - 8 - int.from_bytes(parquet[-8:-4], "little")


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=SUM).digest()


def _arrays(table: pa.Table, name: str) -> list[np.ndarray]:
    """A list column as one array a row, writable and its own."""
    column = table[name].combine_chunks()
    offsets, flat = column.offsets.to_numpy(), column.values.to_numpy()
    return [flat[start:end].copy() for start, end in pairwise(offsets)]


def _is_for_people(name: str) -> bool:
    return name in ("source", "prompt_text", "num_tokens") or name.startswith("part/")


def _settled(rows: list[dict[str, Any]], problem_of: Callable[[str], Problem]) -> Settled:
    draw = Draw(rows[0]["draw"], problem_of(rows[0]["problem_id"]), rows[0]["group_size"])
    members = tuple(_scored(row) for row in rows)
    kept = tuple(scored for scored, row in zip(members, rows, strict=True) if row["member"])
    return Settled(Group(draw, members), Group(draw, kept) if kept else None, rows[0]["decision"])


def _scored(row: dict[str, Any]) -> Scored:
    stops = {name: tuple(row[name]) for name in ("stop", "stop_after")}
    sampling = Sampling(**{**{name: row[name] for name in SAMPLING}, **stops})
    request = Request(
        RequestId(row["purpose"], row["draw"], row["index"]), row["problem_id"], tuple(row["prompt_ids"].tolist()),
        row["seed"], sampling, tuple(row["forced_ids"].tolist()), tuple(map(Role, row["forced_role"].tolist())),
    )  # fmt: skip
    rollout = Rollout(
        request, tuple(row["completion_ids"].tolist()), row["role"], row["engine_logprobs"], row["version"],
        row["finish"], row["text"], _turns(row.get("turns")),
    )  # fmt: skip
    own = None if row["status"] is None else _verdict({name: row[name] for name in VERDICT})
    further = {name: _verdict(each) for name, each in json.loads(row["verdicts"]).items()}
    second = _verdict(json.loads(row["second"])) if row.get("second") else None
    raw = {name: _steps(value) for name, value in json.loads(row.get("raw") or "{}").items()}
    steps = _steps(json.loads(row.get("credited_steps") or "null"))
    replayed = row.get("replayed_from") or ""
    return Scored(rollout, own, row["reward"], json.loads(row["parts"]), further, second, raw, steps, replayed)


def _turns(text: str | None) -> tuple[TurnRecord, ...]:
    """Those that a row says; none of a table of an older version."""
    return tuple(TurnRecord(**turn) for turn in json.loads(text)) if text else ()


def _verdict(row: dict[str, Any]) -> Verdict:
    steps = json.loads(row["steps"]) if isinstance(row["steps"], str) else row["steps"]
    return Verdict(**{**row, "steps": _steps(steps)})


def _steps(value: Any) -> Any:
    """Steps in a list's place; anything else as it is."""
    return tuple((end, score) for end, score in value) if isinstance(value, list) else value
