"""A template that would drop thinking from an episode's earlier turns is not the one that the model's folder gets."""

import importlib.util
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from r1lab.hub.chat_template import chat_template
from r1lab.rollout.bridge import Bridge, rewrites_turns
from r1lab.rollout.renderer import Renderer
from r1lab_data import Problem

PLACE = Path(__file__).parents[1] / "rollout" / "chat_templates.py"
SPEC = importlib.util.spec_from_file_location("chat_templates", PLACE)
TEMPLATES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TEMPLATES)
THOUGHT = "<think>\nlet me see\n</think>\n\nIs it 7?"


def renderer_of(family, role="tool", frame=None, **prompt):
    """A renderer of a family's template that episodes are played with."""
    template, special, end, _ = TEMPLATES.TEMPLATES[family]
    core = Tokenizer(models.BPE({sign: at for at, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    more = [token for token in special if token != end]
    bos = next((token for token in more if "begin_of" in token), end)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=end, bos_token=bos, additional_special_tokens=more
    )
    tokenizer.chat_template = template
    made = Renderer(tokenizer, template="chat", **prompt)
    made.bridges["s"] = Bridge(made, role, frame), ()
    return made


def episode(renderer, turns, observations):
    """The text of an episode: what was sampled, and the bridge's text between."""
    tokenizer, bridge = renderer.tokenizer, renderer.bridges["s"][0]
    ids = list(renderer.render(Problem("p", "Guess.", "7", source="s")))
    for turn, observed in zip(turns, observations, strict=True):
        ids += [*renderer.encode(turn, bos=False), renderer.turn_end]
        ids += bridge.ids(observed, ids, 500)[0]
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def written(renderer, messages, asks=True):
    """What the folder's template makes of a conversation."""
    template = chat_template(renderer)
    return renderer.tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=asks
    )


def said(role, content, **more):
    return {"role": role, "content": content, **more}


PROMPTS = [
    {}, {"system_prompt": "Be brief."}, {"prefill_think": True},
    {"examples": [{"prompt": "Say 1.", "solution": "<think>\nno\n</think>\n\n1"}]},
]  # fmt: skip


CASES = [(family, prompt) for family in ("qwen3", "deepseek-r1") for prompt in PROMPTS
         if (family, "system_prompt" in prompt) != ("deepseek-r1", True)]  # fmt: skip  # which has no system role


@pytest.mark.parametrize(("family", "prompt"), CASES)
@pytest.mark.parametrize("role", ["tool", "user"])
def test_an_episodes_turns_are_written_as_they_were(family, role, prompt):
    renderer = renderer_of(family, role, **prompt)
    assert rewrites_turns(renderer)
    turns = [THOUGHT, "Is it 9?", THOUGHT]
    opened = renderer.prompt_text(Problem("p", "Guess.", "7", source="s")).rstrip().endswith("<think>")
    sampled = [turn.removeprefix("<think>\n") if opened and not at else turn for at, turn in enumerate(turns)]
    if renderer.tokenizer.decode(renderer.bridges["s"][0].after).rstrip().endswith("<think>"):
        sampled = [turn.removeprefix("<think>\n") for turn in turns]
    messages = [said("user", "Guess.")]
    for turn, observed in zip(turns, ["higher", "lower </think>", ""], strict=True):
        messages += [said("assistant", turn), said(role, observed)]
    assert written(renderer, messages) == episode(renderer, sampled, ["higher", "lower </think>", ""])


def test_without_turns_it_is_the_familys_own(family="qwen3"):
    renderer = renderer_of(family)
    for messages in ([said("user", "a")], [said("system", "b"), said("user", "a")]):
        for asks in (True, False):
            own = renderer.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
            assert written(renderer, messages, asks) == own


def test_how_a_conversation_ends_is_said_by_its_last_message():
    renderer = renderer_of("qwen3")
    begun = [said("user", "a"), said("assistant", THOUGHT)]
    assert written(renderer, begun, asks=False).endswith(f"assistant\n{THOUGHT}<|im_end|>")
    told = [*begun, said("tool", "1"), said("tool", "2")]
    assert written(renderer, told, asks=False).endswith("<tool_response>\n1\n2\n</tool_response><|im_end|>\n")
    assert written(renderer, told).endswith("2\n</tool_response><|im_end|>\n<|im_start|>assistant\n")
    later = [*told, said("assistant", "b"), said("user", "and now?")]
    assert written(renderer, later).endswith(
        "b<|im_end|>\n<|im_start|>user\nand now?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_thinking_that_a_server_gives_apart_is_put_back():
    renderer = renderer_of("qwen3")
    apart = [said("user", "a"), said("assistant", "Is it 7?", reasoning_content="let me see"), said("tool", "1")]
    whole = [said("user", "a"), said("assistant", THOUGHT), said("tool", "1")]
    assert written(renderer, apart) == written(renderer, whole)


def test_a_frame_of_the_recipe_stands_where_the_models_turn_goes_on():
    renderer = renderer_of("qwen3", frame="\n<output>\n{observation}\n</output>\n")
    messages = [said("user", "a"), said("assistant", THOUGHT), said("tool", "1")]
    assert written(renderer, messages).endswith(f"{THOUGHT}\n<output>\n1\n</output>\n")


@pytest.mark.parametrize("family", ["qwen2.5", "llama3", "deepseek-r1"])
def test_a_template_that_keeps_turns_or_meets_none_stays_as_it_is(family):
    renderer = renderer_of(family)
    if family == "deepseek-r1":
        renderer.bridges.clear()
    assert chat_template(renderer) is None
