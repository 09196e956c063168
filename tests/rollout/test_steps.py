"""Steps end where a verifier says, in the tokens that wrote them; what does not align is an error of the verifier."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from r1lab.errors import RunError
from r1lab.objective import step_credit
from r1lab.policy import models as policies
from r1lab.policy.location import locate
from r1lab.records import Request, RequestId, Role, Rollout, Sampling, Scored
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.steps import end_tokens, with_steps
from r1lab_verifiers.verdict import Verdict


def pieces(*texts):
    return lambda count: "".join(texts[:count])


def test_a_step_ends_at_the_token_that_writes_its_last_character():
    text_of = pieces("7+", "5=", "12, ", "4+8", "=12")
    text = text_of(5)
    assert end_tokens([6, 13], text, 5, text_of) == [3, 5]
    assert end_tokens([1, 2, 3], text, 5, text_of) == [1, 1, 2], "a token may write the ends of two steps"
    assert end_tokens([], text, 5, text_of) == []


def test_of_a_long_completion_a_step_takes_few_decodings():
    asked = []

    def text_of(count):
        asked.append(count)
        return "ab" * count

    assert end_tokens([5001, 7000], "ab" * 4000, 4000, text_of, [2] * 4000) == [2501, 3500]
    assert len(asked) < 8


def test_half_a_character_is_not_yet_written():
    parts = ["a", "a\ufffd", "a\ufffd", "a\u20ac", "a\u20acb"]  # a euro sign of three tokens
    assert end_tokens([1, 2, 3], "a\u20acb", 5, lambda count: (["", *parts])[count]) == [1, 4, 5]


@pytest.mark.parametrize("ends", [[0], [-1, 2], [2, 2], [3, 2], [99], [2, 14]])
def test_ends_that_are_none_of_the_text_do_not_align(ends):
    text_of = pieces("7+5=12, ", "4+8=1")
    assert end_tokens(ends, text_of(2), 2, text_of) is None


def test_a_text_that_these_tokens_did_not_write_does_not_align():
    assert end_tokens([3], "abc", 2, pieces("a", "x")) is None
    assert end_tokens([3], "abc", 0, pieces()) is None


def test_a_step_that_the_prompt_wrote_is_none_of_the_completion():
    text_of = lambda count: "<think>" + "abc"[:count]  # noqa: E731
    assert end_tokens([7], "<think>abc", 3, text_of) is None and end_tokens([8], "<think>abc", 3, text_of) == [1]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=20), st.data())
def test_it_is_the_first_token_count_that_reaches_the_end(texts, data):
    text_of, text = pieces(*texts), "".join(texts)
    ends = sorted(data.draw(st.sets(st.integers(1, max(1, len(text))), max_size=5)))
    first = [next((n for n in range(len(texts) + 1) if len(text_of(n)) >= end), None) for end in ends]
    sizes = data.draw(st.sampled_from([(), [len(each) for each in texts], [1] * len(texts), [9] * len(texts)]))
    assert end_tokens(ends, text, len(texts), text_of, sizes) == (first if text or not ends else None)


BYTES = Tokenizer(models.BPE({token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
BYTES.pre_tokenizer, BYTES.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
BYTES.add_special_tokens(["<eos>"])


def byte_renderer(**knobs):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=BYTES, eos_token="<eos>", pad_token="<eos>")
    return Renderer(tokenizer, format="{prompt}", **knobs)


def scored(renderer, text, steps, *, prompt="", name="verdict", finish="eos"):
    ids = (*renderer.encode(text, bos=False), renderer.tokenizer.eos_token_id)
    request = Request(RequestId("train/rl", 0, 0), "p", renderer.encode(prompt, bos=False), 0, Sampling())
    size = len(ids)
    rollout = Rollout(request, ids, np.zeros(size, np.int8) + Role.POLICY, np.zeros(size, np.float32),
                      np.zeros(size, np.int32), finish, renderer.verifier_text(ids, request.prompt_ids))  # fmt: skip
    own = Verdict(1.0, "correct", steps=steps if name == "verdict" else None)
    others = {} if name == "verdict" else {name: Verdict(1.0, "correct", steps=steps)}
    return Scored(rollout, own, 1.0, {"score": 1.0}, others)


STEPS = step_credit.build("steps")


def test_in_bytes_of_several_a_character_the_last_step_reaches_the_end_with_the_end_of_text():
    found = with_steps(
        scored(byte_renderer(), "\u20ac 1.\n\u00e9t\u00e9", ((4, 1.0), (5, 0.0), (8, 0.5))), STEPS, byte_renderer()
    )
    # 3 bytes and 3 more; a line break; 2 + 1 + 2 bytes and the end of text
    assert found.steps == ((6, 1.0), (7, 0.0), (13, 0.5)) and found.reward == 1


def test_a_thinking_tag_of_the_prompt_is_no_token_of_the_completion():
    renderer = byte_renderer(prefill_think=True)
    one = scored(renderer, "12</think>3", ((9, 1.0), (18, 0.0)), prompt="Q <think>")
    assert one.rollout.text == "<think>12</think>3"
    assert with_steps(one, STEPS, renderer).steps == ((2, 1.0), (12, 0.0))


def test_with_the_embedded_tokenizer_columns_are_their_tokens():
    renderer = Renderer(policies.load_tokenizer(locate("embedded", None)), format="Q: {prompt}\nA:")
    text = " 7+5=12, 4+8+1=13, 3+2+1=6. Answer: 632"
    ends = (7, 17, 26, 39)
    found = with_steps(scored(renderer, text, tuple((end, 1.0) for end in ends)), STEPS, renderer)
    written = [renderer.text.visible(found.rollout.completion_ids[:end]) for end, _ in found.steps]
    assert written == [text[:end] for end in ends] or all(w.startswith(text[:end]) for w, end in zip(written, ends))


def test_steps_of_a_learned_part_are_credited_where_it_is_the_source_and_else_only_paid():
    renderer = byte_renderer()
    one = replace(scored(renderer, "1+1\n=2", None), raw={"process": ((4, 0.9), (6, 0.2))})
    credit = step_credit.build({"use": "steps", "source": "process"})
    assert with_steps(one, credit, renderer).steps == ((4, 0.9), (7, 0.2)) and with_steps(one, None, renderer) is one
    empty = replace(scored(renderer, "", None), raw={"process": ((0, 0.5),)})
    assert with_steps(empty, credit, renderer).steps == ()


@pytest.mark.parametrize("steps", [((99, 1.0),), ((2, 1.0), (1, 1.0)), ((2, float("nan")),), ((0, 1.0),)])
@pytest.mark.parametrize("name", ["verdict", "grader"])
def test_steps_that_do_not_align_are_an_error_of_who_said_them(steps, name):
    credit = step_credit.build({"use": "steps", "source": name})
    found = with_steps(scored(byte_renderer(), "1+1=2", steps, name=name), credit, byte_renderer())
    assert found.reward is None and found.steps is None and found.failed.status == "error"
    assert "are none of the completion's 5 characters" in found.failed.reason


def test_a_learned_scorers_steps_are_credited_where_it_is_the_source_and_else_it_is_paid_as_a_whole():
    renderer = byte_renderer()
    one = replace(scored(renderer, "1+1=2", None), raw={"grader": ((3, 0.25), (5, 0.75)), "helpful": 0.5})
    credit = step_credit.build({"use": "steps", "source": "grader"})
    assert with_steps(one, credit, renderer).steps == ((3, 0.25), (6, 0.75))
    assert with_steps(one, None, renderer) is one
    broken = replace(one, raw={"grader": ((3, 0.25), (9, 0.75))})
    assert with_steps(broken, credit, renderer).failed.status == "error"


@pytest.mark.parametrize("credit", [None, step_credit.build({"use": "steps", "source": "other"})])
@pytest.mark.parametrize("name", ["verdict", "grader"])
def test_steps_that_nothing_reads_are_refused(credit, name):
    with pytest.raises(
        RunError, match=rf"'?{name}'? of request train/rl:0:0 has steps, which no credit reads.*source: "
    ):
        with_steps(scored(byte_renderer(), "1+1=2", ((2, 1.0),), name=name), credit, byte_renderer())


def test_what_has_no_steps_or_no_reward_stays_and_a_cut_completion_of_score_0_has_none():
    renderer = byte_renderer()
    plain = replace(scored(renderer, "1", None), verdict=Verdict(0.0, "timeout"))
    assert with_steps(plain, STEPS, renderer) is plain
    unpaid = replace(scored(renderer, "1", ((1, 1.0),)), reward=None)
    assert with_steps(unpaid, STEPS, renderer) is unpaid
    cut = scored(renderer, "1", ((1, 1.0),), finish="length")
    assert with_steps(cut, STEPS, renderer, "zero").steps == () and with_steps(cut, STEPS, renderer).steps == (
        (2, 1.0),
    )
    empty = scored(renderer, "1", ())
    assert with_steps(empty, STEPS, renderer).steps == ()
