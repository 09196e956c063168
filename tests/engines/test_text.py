"""A completion's text: what ended it leaves it, special tokens too, tags stay; the ids are not touched."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from r1lab.engines.text import CompletionText, Ending, stopped_at
from r1lab.records import Sampling

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer(special=(), plain=(), merges=()):
    """One token a byte, but for merges; `<eos>` is special."""
    pieces = [*BYTES, *("".join(pair) for pair in merges)]
    core = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")
    made.add_tokens([AddedToken(token, special=True, normalized=False) for token in special], special_tokens=True)
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    return made


def text(said, finish="stop", stop=(), stop_after=(), forced="", tokenizer=None):
    tokenizer = tokenizer or byte_tokenizer()
    ids, prefix = (tokenizer(each, add_special_tokens=False)["input_ids"] for each in (said, forced))
    ending = Ending(finish, Sampling(stop=stop, stop_after=stop_after), len(prefix))
    return CompletionText(tokenizer).of([*prefix, *ids], ending)


@pytest.mark.parametrize(("said", "stop", "stop_after", "read"), [
    (" 12\nQ:", ("\nQ:",), (), " 12"),
    (" 12\nQ:", ("\n", "\nQ:"), (), " 12"),
    ("<answer>5</answer>", (), ("</answer>",), "<answer>5</answer>"),
    ("```python\nx\n```", (), ("\n```",), "```python\nx\n```"),
    ("```python\nx\n```", ("\n```",), (), "```python\nx"),
    ("<tool>f()</tool>", ("zz",), ("</tool>",), "<tool>f()</tool>"),
    ("a caf\u00e9\u00e9.", ("\u00e9.",), (), "a caf\u00e9"),
    ("\u65e5\u672c\u3002", ("\u3002",), (), "\u65e5\u672c"),
    ("STOP", ("STOP",), (), ""),
    ("no such string", ("\n",), (), "no such string"),
    ("<eos>", ("<eos>",), (), ""),
    ("one<eos>two\n", ("\n",), (), "onetwo"),
])  # fmt: skip
def test_stop_strings_leave_the_text_and_those_to_stop_after_stay(said, stop, stop_after, read):
    assert text(said, stop=stop, stop_after=stop_after) == read


def test_what_a_token_holds_beyond_the_stop_string_leaves_too():
    merged = byte_tokenizer(merges=[(".", "\u010a")])  # one token for a full stop and a line's end
    assert text("5.\n", stop=("\n",), tokenizer=merged) == "5."
    assert text("5.\n", stop=(".",), tokenizer=merged) == "5"
    assert text("5.\n", stop_after=(".",), tokenizer=merged) == "5."


def test_a_completion_that_ended_otherwise_keeps_its_text():
    for finish in ("length", "abort"):
        assert text("1\nQ:", finish, stop=("\nQ:",)) == "1\nQ:"
    assert text("1\nQ<eos>", "eos", stop=("\nQ:",)) == "1\nQ"


def test_nothing_is_looked_for_in_forced_tokens():
    assert text("5\n", stop=("\n",), forced="a\nb ") == "a\nb 5"
    assert text("", "length", stop=("\n",), forced="a\n") == "a\n"


def test_the_token_that_ends_a_turn_leaves_the_text_also_where_it_is_not_special():
    plain = byte_tokenizer(plain=["<|end|>"])
    assert text("four<|end|>", "eos", tokenizer=plain) == "four"
    assert text("four<|end|>", "length", tokenizer=plain) == "four<|end|>"
    assert text("<|end|>", "eos", tokenizer=plain) == ""


def test_tags_that_are_special_tokens_stay_and_other_special_tokens_leave():
    tags = byte_tokenizer(special=["<think>", "</think>", "<answer>", "</answer>", "<|im_end|>"])
    said = "<think>2</think><answer>4</answer>"
    assert text(f"{said}<|im_end|><eos>", "eos", tokenizer=tags) == said
    assert text(said, "eos", tokenizer=tags) == said  # also where a tag is what ends the turn
    assert text(said, stop_after=("</answer>",), tokenizer=tags) == said
    assert text(said, stop=("</answer>",), tokenizer=tags) == said.removesuffix("</answer>")
    assert text("<think>a\n", stop=("\n",), tokenizer=tags) == "<think>a"


@pytest.mark.parametrize(("held", "stop", "stop_after", "end"), [
    ("ab", ("b",), ("ab",), 2),  # both end at one character: the longer counts
    ("abc", ("b",), ("abc",), 1),  # as if read a character at a time
    ("\n\n", ("\n\n", "\n"), (), 0),
    ("x", ("y",), ("z",), None),
    ("x", (), (), None),
])  # fmt: skip
def test_of_several_strings_the_one_completed_first_counts(held, stop, stop_after, end):
    assert stopped_at(held, stop, stop_after) == end


def test_nothing_known_of_the_end_leaves_the_text_whole():
    tokenizer = byte_tokenizer()
    assert CompletionText(tokenizer).of(tokenizer("12\n<eos>")["input_ids"]) == "12\n"
