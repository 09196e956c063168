import math
import struct
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from r1lab.run import journal
from r1lab_data import Problem
from r1lab_verifiers.verdict import STATUSES, UNSCORED, Verdict


def bits(value):
    """The value with every float as its bytes and every array as (dtype, shape, bytes), so that == is bit-exact."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return struct.pack("d", value)
    if is_dataclass(value):
        return type(value), [bits(getattr(value, each.name)) for each in fields(value)]
    if isinstance(value, dict):
        return [(key, bits(item)) for key, item in value.items()]
    if isinstance(value, tuple | list):
        return type(value), [bits(item) for item in value]
    return type(value), value


def rollout(draw=0, index=0, length=3, problem="p/0", purpose="train/rl", seed=5, role=Role.POLICY) -> Rollout:
    logprobs = np.full(length, -0.1 if role == Role.POLICY else np.nan, np.float32)
    return Rollout(
        Request(RequestId(purpose, draw, index), problem, (1, 2), seed, Sampling(stop=("\n", "</s>"))),
        tuple(range(length)), np.full(length, role, np.int8), logprobs, np.full(length, 7, np.int32), "eos", "text",
    )  # fmt: skip


def scored(made: Rollout, reward: float | None = 1.0, **changes) -> Scored:
    return Scored(made, Verdict(1.0, "correct"), reward, {"score": 1.0}, **changes)


def settled(members, *, kept=None, reason="kept", number=0) -> Settled:
    draw = Draw(number, Problem("p/0", "1+1", "2", source="p"), 8)
    return Settled(Group(draw, tuple(members)), Group(draw, tuple(kept)) if kept else None, reason)


floats = st.floats(allow_nan=False)
scores = st.floats(0, 1)
texts = st.text(max_size=5)
ids = st.integers(0, 2**31 - 1)
verdicts = st.builds(
    lambda status, score, **more: Verdict(None if status in UNSCORED else score, status, **more),
    status=st.sampled_from(STATUSES), score=scores, extracted=st.none() | texts, reason=texts,
    steps=st.none() | st.lists(st.tuples(st.integers(0, 99), scores), max_size=3).map(tuple), seconds=st.floats(0, 9),
)  # fmt: skip
turns = st.builds(
    TurnRecord, end=ids, observed=ids, reward=st.none() | floats.filter(math.isfinite),
    info=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=2),
)  # fmt: skip


@st.composite
def members(draw, number: int, index: int) -> Scored:
    role = np.array(draw(st.lists(st.sampled_from(Role), max_size=4)), np.int8)
    length = len(role)
    logprobs = np.array(draw(st.lists(st.floats(width=32), min_size=length, max_size=length)), np.float32)
    forced = draw(st.lists(st.tuples(ids, st.sampled_from(Role)), max_size=2))
    sampling = draw(st.builds(Sampling, temperature=floats, top_p=floats, stop=st.lists(texts, max_size=2).map(tuple)))
    request = Request(
        RequestId("train/rl", number, index), f"p/{number}", tuple(draw(st.lists(ids, max_size=3))),
        draw(st.integers(0, 2**63 - 1)), sampling, tuple(i for i, _ in forced), tuple(r for _, r in forced),
    )  # fmt: skip
    made = Rollout(
        request, tuple(draw(st.lists(ids, min_size=length, max_size=length))), role, logprobs,
        np.array(draw(st.lists(st.integers(-1, 99), min_size=length, max_size=length)), np.int32),
        draw(st.sampled_from(["eos", "stop", "length", "abort", "done", "turns", "context"])), draw(texts),
        tuple(draw(st.lists(turns, max_size=2))),
    )  # fmt: skip
    return Scored(
        made, draw(st.none() | verdicts), draw(st.none() | floats), draw(st.dictionaries(texts, floats, max_size=2)),
        draw(st.dictionaries(texts, verdicts, max_size=2)),
    )  # fmt: skip


@st.composite
def blocks(draw) -> list[Settled]:
    block = []
    for number in draw(st.lists(st.integers(0, 2**40), unique=True, max_size=3).map(sorted)):
        made = [draw(members(number, index)) for index in range(draw(st.integers(1, 3)))]
        kept = tuple(member for member in made if draw(st.booleans()))
        where = Draw(number, Problem(f"p/{number}", "?", "!"), draw(st.integers(1, 9)))
        reason = "kept" if kept else draw(texts)
        block.append(Settled(Group(where, tuple(made)), Group(where, kept) if kept else None, reason))
    return block


@settings(max_examples=25)
@given(blocks())
def test_a_block_comes_back_bit_for_bit(block):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rollouts" / "rl-1.parquet"
        journal.write_block(path, block)
        again = journal.read_block(path, {f"p/{each.drawn.draw.number}": each.drawn.draw.problem for each in block}.get)
    assert bits(again) == bits(block)


def test_arrays_that_came_back_are_writable(tmp_path):
    journal.write_block(tmp_path / "t", [settled([scored(rollout())])])
    [again] = journal.read_block(tmp_path / "t", lambda _: Problem("p/0", "", ""))
    again.drawn.members[0].rollout.engine_logprobs[0] = 0


def test_dropped_groups_errors_and_demonstrations_are_in_the_table(tmp_path):
    error = Scored(rollout(index=1), Verdict(None, "error", reason="boom"), None)
    demo = Scored(rollout(index=2, role=Role.DEMO), None, 1.0)
    good = scored(rollout())
    dropped = settled([scored(rollout(draw=1))], reason="zero variance", number=1)
    journal.write_block(tmp_path / "t", [settled([good, error, demo], kept=[good, demo]), dropped])
    table = pq.read_table(tmp_path / "t").to_pydict()
    assert table["member"] == ["kept", "", "kept", ""]
    assert table["decision"] == ["kept", "kept", "kept", "zero variance"]
    assert table["status"] == ["correct", "error", None, "correct"]
    assert table["score"] == [1.0, None, None, 1.0]
    assert table["reward"] == [1.0, None, 1.0, 1.0]
    assert table["part/score"] == [1.0, None, None, 1.0]
    assert [math.isnan(value) for value in table["engine_logprobs"][2]] == [True] * 3


def test_samples_stand_in_a_table_of_their_own_and_beside_their_rollouts_where_both_are_read(tmp_path):
    first, second = rollout(), rollout(index=1)
    ones = np.ones(3, np.float32)
    sample = Sample(second, second.role, ones, ones / 4, old=-ones, left_out="zero_advantage")
    imitated = replace(sample, role=np.full(3, Role.DEMO, np.int8), advantage=2 * ones)
    rollouts, samples = (tmp_path / name / "rl-1.parquet" for name in ("rollouts", "samples"))
    journal.write_block(rollouts, [settled([scored(first), scored(second)])], lambda made: f"of {made.request.id}")
    columns = ("index", "prompt_text", "advantage", "old", "ref", "left_out", "no such column")
    plain = [{"index": 0, "prompt_text": "of train/rl:0:0"}, {"index": 1, "prompt_text": "of train/rl:0:1"}]
    assert journal.read_rows(rollouts, columns) == plain, "a run killed while it scored has none"
    journal.write_samples(samples, [[], [sample, imitated]])
    nothing = dict.fromkeys(["advantage", "old", "ref", "left_out"])
    derived = {"advantage": [1.0] * 3, "old": [-1.0] * 3, "ref": None, "left_out": "zero_advantage"}
    assert journal.read_rows(rollouts, columns) == [plain[0] | nothing, plain[1] | derived]
    table = pq.read_table(samples).to_pydict()
    assert (
        table["update"] == [1, 1] and table["scale"] == [[0.25] * 3] * 2 and table["sample_role"] == [[0] * 3, [1] * 3]
    )


def test_what_the_table_could_not_give_back_is_refused(tmp_path):
    one, two = scored(rollout()), scored(rollout(index=1))
    wide = replace(one.rollout, engine_logprobs=np.zeros(3))
    for block, message in (
        ([settled([one, one])], "stands twice"),
        ([settled([one], kept=[two])], "must be members"),
        ([settled([one, two], kept=[two, one])], "in order"),
        ([settled([])], "has no completion"),
        ([settled([one], number=3)], "stands in draw 3"),
        ([settled([scored(wide)])], "a column of float32 got an array of float64"),
    ):
        with pytest.raises(ValueError, match=message):
            journal.write_block(tmp_path / "t", block)
    assert list(tmp_path.iterdir()) == []


def test_half_a_surrogate_pair_in_a_text_does_not_end_a_run(tmp_path):
    made = replace(scored(rollout()), verdict=Verdict(1.0, "correct", extracted="\ud800"))
    journal.write_block(tmp_path / "t", [settled([made])])
    [again] = journal.read_block(tmp_path / "t", lambda _: Problem("p/0", "", ""))
    assert again.drawn.members[0].verdict.extracted == "\\ud800"


def test_a_missing_damaged_or_foreign_table_is_one_line_with_the_remedy(tmp_path):
    path = tmp_path / "t"
    journal.write_block(path, [settled([scored(rollout(index=index)) for index in range(50)])])
    whole = path.read_bytes()
    cases = [None, b"", b"text", whole[:-20], whole[: len(whole) // 2]]
    cases += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 97)]
    for damaged in cases:
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(RunError, match="remove it") as error:
            journal.read_block(path, lambda _: Problem("p/0", "", ""))
        assert "\n" not in str(error.value)
    journal.write_samples(path, [])
    with pytest.raises(RunError, match="of kind samples/1, not rollouts/2; remove it"):
        journal.read_block(path, lambda _: Problem("p/0", "", ""))


def test_other_readers_take_the_file_as_plain_parquet(tmp_path):
    journal.write_block(tmp_path / "t", [settled([scored(rollout())])])
    with pq.ParquetFile(tmp_path / "t") as file:
        assert file.read().num_rows == 1


def test_a_problem_that_the_data_lacks_is_named(tmp_path):
    journal.write_block(tmp_path / "t", [settled([scored(rollout())])])
    with pytest.raises(RunError, match="problem 'p/0' is not in the data"):
        journal.read_block(tmp_path / "t", {}.__getitem__)
