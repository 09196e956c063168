"""What goes between the pool and a worker: requests and answers as bytes."""

import json
import pickle
import random
from dataclasses import replace

import pytest

from r1lab_verifiers import Item, Verdict, resolve
from r1lab_verifiers.pool import worker
from r1lab_verifiers.pool.worker import CheckRequest, decode, encode
from r1lab_verifiers.verdict import tidy

TEXTS = ("7", "", 'a "quote" \\ and {braces}', "\u7b54\u6848", "\ud800", "x\x7f", None)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("score", [0.0, 1.0, 1 / 3, None])
@pytest.mark.parametrize("steps", [None, ((3, 0.5),)])
def test_an_answer_is_json_that_says_the_verdict(text, score, steps):
    made = Verdict(score, "error" if score is None else "partial", text, text or "", steps)
    frame = worker._encode(12, 1.5e-05, False, made)
    sent = [made.score, made.status, made.extracted, made.reason, made.steps]
    assert json.loads(frame) == json.loads(json.dumps([12, 1.5e-05, False, sent]))
    reply = decode(frame, 12)
    assert reply.outcome == tidy(replace(made, seconds=1.5e-05)) and not reply.is_tired and reply.seconds == 1.5e-05


@pytest.mark.parametrize("outcome", [None, 'ValueError: \u7b54 "7"', ""])
def test_an_answer_without_a_verdict_says_why_there_is_none(outcome):
    assert decode(worker._encode(3, 0.5, True, outcome), 3) == (0.5, True, outcome)


def test_what_is_said_of_a_failure_is_short_and_plain():
    said = decode(worker._encode(3, 0.5, True, "a\x1b[2J" + "b" * 10_000), 3).outcome
    assert said == "a?[2J" + "b" * 495


def test_steps_that_do_not_fit_are_a_failure():
    steps = tuple((end, 0.123456789) for end in range(60_000))
    assert "do not fit" in decode(worker._encode(3, 0.5, False, Verdict(1.0, "correct", steps=steps)), 3).outcome


@pytest.mark.parametrize("is_witness", [False, True])
def test_a_check_arrives_as_it_was_sent(is_witness):
    item = Item("so 7", {"any": ["7", 8]}, ({"role": "user", "content": "?"},), "p/1", "length", 5, {"level": 3})
    request = CheckRequest("math", item, is_witness, "####7")
    frame = encode(5, request)
    assert worker.NUMBER.unpack_from(frame) == (5,) and worker._request(frame) == request
    with pytest.raises((pickle.PicklingError, AttributeError)):
        encode(5, CheckRequest("math", Item("", "", meta={"f": lambda: 0})))


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff\xfe", b"[]", b"null", b"5", b"[5, 0, false]", b"[5, 0, false, null] ", b"[5, 0, false, null][]",
     b"[5, 0, false, null, null]", b'{"5": 0, "0": 0, "false": 0, "null": 0}', b'"5000"', b"[" * 100_000,
     b'[5, "x", false, null]', b"[5, null, false, null]", b"[5, [], false, null]", b"[4, 0, false, null]",
     b"[5, 1" + b"0" * 400 + b", false, null]", b"[5, 0, false, []]", b'[5, 0, false, [1, "correct", "", ""]]',
     b'[5, 0, false, [1, "correct", "", "", null, 0]]', b'[5, 0, false, ["1", "correct", "", "", null]]',
     b'[5, 0, false, [2, "correct", "", "", null]]', b'[5, 0, false, [NaN, "correct", "", "", null]]',
     b'[5, 0, false, [1, ["correct"], "", "", null]]', b'[5, 0, false, [1, "right", "", "", null]]',
     b'[5, 0, false, [1, "correct", "", "", [1]]]', b'[5, 0, false, [1, "correct", "", "", [[1, "x"]]]]'],
)  # fmt: skip
def test_nonsense_is_no_answer(frame):
    with pytest.raises(ValueError):
        decode(frame, 5)


def test_the_global_generator_is_seeded_for_each_check_of_a_verifier_that_may_draw():
    class Draws:
        is_seeded = False

        def item_to_check(self, answer):
            return answer

        def verify(self, item):
            return Verdict(random.random(), "partial")

    request = CheckRequest("draws", Item("", ""))
    assert request({"draws": Draws()}) == request({"draws": Draws()})


def test_math_leaves_the_global_generator_alone_also_in_a_proof(monkeypatch):
    math = resolve("math").build()
    assert math.is_seeded and not resolve("numeric").build().is_seeded
    random.seed(5)
    state = random.getstate()
    for gold, answer in (
        (r"\sin 3x", r"3\sin x-4\sin^3 x"),
        ("7", "so it is 7"),
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
    ):
        math.verify(Item(rf"\boxed{{{answer}}}", gold))
    assert random.getstate() == state


def test_a_hostile_verdict_is_made_plain_and_short():
    frame = b'[5, -1, 0, [true, "correct", [1, "\\u001b[2J"], 7, [["3", true]]]]'
    verdict = decode(frame, 5).outcome
    assert verdict == Verdict(1.0, "correct", "[1, '\\x1b[2J']", "7", ((3, 1.0),)) and type(verdict.score) is float
    assert verdict.seconds == 0.0 and not verdict.has_failed
