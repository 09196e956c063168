"""One renderer: what SFT trains on is what the policy is asked and would have written."""

from dataclasses import replace

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from r1lab.rollout.renderer import Renderer
from r1lab_data import Problem

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SUM = Problem(id="set/7", prompt="What is {x} + 2?", answer="4", solution="2+2=4")
SPECIAL = ["<pad>", "<eos>", "<bos>"]


def tokenizer(chat_template=None, adds_bos=False):
    """One token a character. `adds_bos`: as Llama's do."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *map(chr, range(32, 127)), "\n"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    bos = {"bos_token": "<bos>"} if adds_bos else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", chat_template=chat_template, **bos
    )


def text(renderer, problem=SUM):
    return renderer.tokenizer.decode(renderer.render(problem))


def both(renderer, problem=SUM):
    """The row of a demonstration: prompt and solution."""
    return renderer.tokenizer.decode(renderer.render(problem) + renderer.render_solution(problem))


def test_plain_is_the_format_and_braces_in_a_problem_are_safe():
    renderer = Renderer(tokenizer())
    assert text(renderer) == "Question: What is {x} + 2?\nAnswer:"
    assert both(renderer) == "Question: What is {x} + 2?\nAnswer: 2+2=4<eos>"
    assert renderer.render(SUM) == renderer.render(SUM)
    assert text(Renderer(tokenizer(), format="Q: {prompt} ->")) == "Q: What is {x} + 2? ->"
    assert text(Renderer(tokenizer(), format="{prompt}"), Problem("a", "{prompt}", "1")) == "{prompt}"


def test_worked_examples_are_written_as_demonstrations_are():
    examples = [{"prompt": "1+1", "solution": "2"}, {"prompt": "1+2", "solution": "\n3"}]
    renderer = Renderer(tokenizer(), format="Q: {prompt}\nA:", examples=examples, system_prompt="Add.")
    assert text(renderer) == "Add.\n\nQ: 1+1\nA: 2\n\nQ: 1+2\nA:\n3\n\nQ: What is {x} + 2?\nA:"


def test_what_is_trained_is_what_would_be_tokenized_as_one_text():
    for renderer in (Renderer(tokenizer(adds_bos=True)), Renderer(tokenizer(), template="r1-zero")):
        rows = renderer.render(SUM) + renderer.render_solution(SUM)
        assert rows == tuple(renderer.tokenizer(both(renderer), add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("solution", ["2+2=4", " 2+2=4", "\n2+2=4", "2+2=4<eos>"])
def test_a_demonstration_ends_in_one_eos_and_begins_with_one_whitespace(solution):
    renderer = Renderer(tokenizer())
    ids = renderer.render_solution(Problem("a", "x", "4", solution=solution))
    assert ids.count(1) == 1 and ids[-1] == 1
    assert renderer.verifier_text(ids) == (solution if solution[0].isspace() else f" {solution}").removesuffix("<eos>")


def test_bos_comes_once_and_only_where_the_tokenizer_adds_it():
    assert text(Renderer(tokenizer(adds_bos=True))).startswith("<bos>Question")
    assert text(Renderer(tokenizer(adds_bos=True), format="<bos>{prompt}")).count("<bos>") == 1
    assert text(Renderer(tokenizer(adds_bos=True), template="r1-zero")).count("<bos>") == 1
    assert text(Renderer(tokenizer("{{ bos_token }}" + CHATML, adds_bos=True), template="chat")).count("<bos>") == 1
    assert Renderer(tokenizer(adds_bos=True)).render_solution(SUM).count(2) == 0


def test_chat_is_the_tokenizers_own_template():
    examples = [{"prompt": "1+1", "solution": "2"}]
    renderer = Renderer(tokenizer(CHATML), template="chat", examples=examples, system_prompt="Add.")
    before = "<|system|>Add.<eos>\n<|user|>1+1<eos>\n<|assistant|>2<eos>\n<|user|>What is {x} + 2?<eos>\n<|assistant|>"
    assert text(renderer) == before and both(renderer) == f"{before}2+2=4<eos>"


def test_a_demonstration_in_chat_keeps_the_space_the_template_writes():
    spaced = (
        "{% for m in messages %}{{ 'A: ' if m.role == 'assistant' else 'Q: ' }}{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}A:{% endif %}"
    )
    assert both(Renderer(tokenizer(spaced), template="chat")) == "Q: What is {x} + 2?\nA: 2+2=4<eos>"


def test_chat_is_refused_where_it_cannot_work():
    with pytest.raises(ValueError, match="has none; use plain"):
        Renderer(tokenizer(), template="chat")
    with pytest.raises(ValueError, match=r"leaves out what the user says in problem set/7"):
        Renderer(tokenizer("Hello{{ messages[0].role }}"), template="chat", prefill_think=True).render(SUM)
    grumpy = tokenizer("{{ raise_exception('no system role') }}")
    with pytest.raises(ValueError, match="no system role"):
        Renderer(grumpy, template="chat", prefill_think=True).render(SUM)


def test_r1_zero_is_the_papers_prompt():
    shown = text(Renderer(tokenizer(), template="r1-zero"))
    assert shown.startswith("A conversation between User and Assistant.")
    assert shown.endswith("<answer> answer here </answer>. User: What is {x} + 2? Assistant:")
    assert "<think> reasoning process here </think>" in shown
    assert text(Renderer(tokenizer(), template="r1-zero"), Problem("a", "Add 1", "1")).endswith(
        "User: Add 1. Assistant:"
    )


@pytest.mark.parametrize("template", ["plain", "chat", "r1-zero"])
def test_a_prefilled_think_tag_is_put_back_for_the_verifier(template):
    renderer = Renderer(tokenizer(CHATML), template=template, prefill_think=True)
    demo = Problem("a", "2+2", "4", solution="<think> easy </think> <answer> 4 </answer>")
    assert text(renderer, demo).endswith("<think>")
    assert both(renderer, demo).endswith("<think> easy </think> <answer> 4 </answer><eos>")
    assert renderer.verifier_text(renderer.render_solution(demo)) == demo.solution


def test_a_template_that_opens_the_thinking_itself_counts_as_prefilled():
    opens = CHATML.replace("<|assistant|>{% endif", "<|assistant|><think>\n{% endif")
    for prefill in (False, True):
        renderer = Renderer(tokenizer(opens), template="chat", prefill_think=prefill)
        assert text(renderer).endswith("<|assistant|><think>\n")
        assert renderer.verifier_text(renderer.tokenizer(" so </think> 4")["input_ids"]) == "<think> so </think> 4"


def test_chat_messages_are_joined_for_the_other_templates():
    turns = ({"role": "system", "content": "S"}, {"role": "user", "content": "one"}, {"role": "user", "content": "two"})
    problem = Problem("a", turns, "2")
    assert text(Renderer(tokenizer()), problem) == "Question: one\n\ntwo\nAnswer:"
    shown = text(Renderer(tokenizer(CHATML), template="chat"), problem)
    assert shown == "<|system|>S<eos>\n<|user|>one<eos>\n<|user|>two<eos>\n<|assistant|>"


def test_a_prompt_that_does_not_fit_is_named_with_the_remedy():
    renderer = Renderer(tokenizer(), context=40)  # the prompt is 34 characters
    renderer.check([SUM], 6)
    with pytest.raises(ValueError, match=r"set/7 renders to 34 tokens.* 7 .*context of 40; lower .*at most 6"):
        renderer.check([SUM], 7)
    with pytest.raises(ValueError, match="shorten"):
        Renderer(tokenizer(), context=20).check([SUM], 7)
    with pytest.raises(ValueError, match=r"to 10,000,0\d\d characters, which exceed the context of 40 tokens"):
        renderer.check([replace(SUM, prompt="1" * 10_000_000)], 6)
    Renderer(tokenizer()).check([SUM], 10**6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"template": "plane"}, "'plane'.*plain, chat, r1-zero"),
        ({"format": "Answer:"}, "exactly once"),
        ({"format": "{prompt}{prompt}"}, "exactly once"),
        ({"template": "r1-zero", "format": "{prompt}"}, "format goes with"),
        ({"template": "r1-zero", "examples": [{"prompt": "a", "solution": "b"}]}, "no worked examples"),
        ({"examples": [{"prompt": "a"}]}, "example 0"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Renderer(tokenizer(), **settings)


def test_a_problem_without_a_solution_cannot_be_demonstrated():
    with pytest.raises(ValueError, match="problem a has no solution"):
        Renderer(tokenizer()).render_solution(Problem("a", "x", "1"))


@pytest.mark.parametrize("template", [
    "{% for i in range(99999999) %}{{ i }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 1 // 0 }}",
    "{{ messages[0].content + 1 }}",
    "{{ messages | map(attribute='x') | join | int('x', 99) }}",
    "{{ raise_exception('no\\nno') }}",
    "{{ ''.__class__.__mro__ }}",
])  # fmt: skip
def test_a_hostile_chat_template_ends_in_one_line(template):
    with pytest.raises(ValueError) as caught:
        Renderer(tokenizer(template), template="chat").render(SUM)
    told = str(caught.value)
    assert type(caught.value) is ValueError and "\n" not in told and len(told) < 500 and "chat template" in told
