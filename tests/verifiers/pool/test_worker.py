"""What goes between the pool and a worker: requests and answers as bytes."""

import json
import pickle
import random

import pytest

from r1lab_verifiers import Item, Verdict, resolve
from r1lab_verifiers.pool import worker
from r1lab_verifiers.pool.worker import CheckRequest, decode, encode

TEXTS = ("7", "", 'a "quote" \\ and {braces}', "\u7b54\u6848", "\ud800", "x\x7f", None)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("score", [0.0, 1.0, 1 / 3, None])
@pytest.mark.parametrize("steps", [None, ((3, 0.5),)])
def test_an_answer_is_json_that_says_the_verdict(text, score, steps):
    fields = {"score": score, "status": "error" if score is None else "partial", "extracted": text,
              "reason": text or "", "steps": steps}  # fmt: skip
    reply = {"verdict": fields, "tired": False, "seconds": 1.5e-05, "number": 12}
    frame = worker._encode(reply)
    assert json.loads(frame) == json.loads(json.dumps(reply))
    verdict = decode(frame, 12)["verdict"]
    assert (verdict.score, verdict.status, verdict.steps, verdict.seconds) == (score, fields["status"], steps, 1.5e-05)


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
    [b"", b"\xff\xfe", b"[]", b"null", b'{"number": 5}',
     b'{"number": 5, "seconds": "x"}', b'{"number": 4, "seconds": 0}',
     b'{"number": 5, "seconds": 0, "verdict": {"score": "1", "status": "correct"}}',
     b'{"number": 5, "seconds": 0, "verdict": {"score": 2, "status": "correct"}}',
     b'{"number": 5, "seconds": 0, "verdict": {"score": 1, "status": ["correct"]}}'],
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
