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
    assert text(Renderer(tokenizer()), problem) == "S\n\nQuestion: one\n\ntwo\nAnswer:"
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


# The turn of an assistant ends in a token that is not the tokenizer's EOS, as in Qwen2.5's base models.
IM = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def im_tokenizer(template=IM, added=("<|im_start|>", "<|im_end|>")):
    made = tokenizer(template)
    made.add_tokens(list(added), special_tokens=True)
    return made


def test_a_demonstration_ends_its_turn_as_the_template_does():
    renderer = Renderer(im_tokenizer(), template="chat")
    assert renderer.tokenizer.convert_ids_to_tokens(renderer.turn_end) == "<|im_end|>" and not renderer.notes
    assert both(renderer).endswith("<|im_start|>assistant\n2+2=4<|im_end|>")
    ended = replace(SUM, solution="2+2=4<|im_end|>")
    assert renderer.render_solution(ended) == renderer.render_solution(SUM)


@pytest.mark.parametrize("behind", ["<eos>", " <eos>\n", "\n<eos><|im_end|>"])
def test_an_eos_behind_the_answer_is_the_turns_end(behind):
    renderer = Renderer(im_tokenizer(IM.replace("<|im_end|>\n", behind)), template="chat")
    assert renderer.turn_end == 1 and not renderer.notes


@pytest.mark.parametrize(
    "behind, said", [("", "nothing"), ("\n\n", "nothing"), ("[/turn]", "'[/turn]', which is no token")]
)
def test_a_turns_end_that_is_no_token_is_said_in_a_line(behind, said):
    renderer = Renderer(im_tokenizer(IM.replace("<|im_end|>\n", behind)), template="chat")
    assert renderer.turn_end == 1 and len(renderer.notes) == 1
    assert f"writes {said} behind an answer; demonstrations end in '<eos>'" in renderer.notes[0]


def test_other_templates_end_in_the_tokenizers_eos():
    assert Renderer(im_tokenizer()).turn_end == Renderer(im_tokenizer(), template="r1-zero").turn_end == 1


@pytest.mark.parametrize("ends", ["<think>", "<think>\n", " <think> ", "<answer>"])
def test_a_format_that_ends_in_a_tag_is_found_without_a_setting(ends):
    renderer = Renderer(tokenizer(), format="Q: {prompt}\nA: Let me think." + ends)
    ids = renderer.tokenizer("maybe 2?")["input_ids"]
    assert renderer.verifier_text(ids, renderer.render(SUM)) == renderer.verifier_text(ids) == f"{ends.strip()}maybe 2?"
    demo = replace(SUM, solution=f"{ends.strip()}easy</think>2")
    assert both(renderer, demo).count(ends.strip()) == 1


@pytest.mark.parametrize(
    "prompt", ["Use <think> </think> tags: 1+1", "What does <think> mean?", "<think>1</think> 1+1"]
)
def test_a_tag_elsewhere_in_a_prompt_opens_nothing(prompt):
    renderer, problem = Renderer(tokenizer(), format="{prompt}\nA:"), replace(SUM, prompt=prompt)
    assert renderer.verifier_text(renderer.tokenizer("2")["input_ids"], renderer.render(problem)) == "2"


def test_a_problem_whose_own_prompt_opens_the_thinking_is_read_so():
    renderer, problem = Renderer(tokenizer(), format="{prompt}"), replace(SUM, prompt="1+1=?\n<think>\n")
    assert renderer.verifier_text(renderer.tokenizer("2")["input_ids"], renderer.render(problem)) == "<think>2"
    assert renderer.verifier_text(renderer.tokenizer("2")["input_ids"], renderer.render(SUM)) == "2"


def test_tags_that_are_special_tokens_are_read_and_the_turns_end_is_not():
    tags = im_tokenizer(added=("<|im_start|>", "<|im_end|>", "<think>", "</think>"))
    renderer = Renderer(tags, template="chat")
    said = tags("<think>no</think>yes<|im_end|>", add_special_tokens=False)["input_ids"]
    assert renderer.verifier_text(said, renderer.render(SUM)) == "<think>no</think>yes"
    opens = im_tokenizer(
        IM.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"), added=tags.added_tokens_encoder
    )
    renderer = Renderer(opens, template="chat")
    ids = opens("no</think>yes", add_special_tokens=False)["input_ids"]
    assert renderer.verifier_text(ids, renderer.render(SUM)) == "<think>no</think>yes"


def turns(*said):
    return replace(SUM, prompt=tuple({"role": role, "content": content} for role, content in said))


SYSTEM, USER, REPLY = ("system", "Add."), ("user", "1+1"), ("assistant", "2")


@pytest.mark.parametrize("template", ["plain", "chat", "r1-zero"])
def test_messages_that_end_with_an_answer_are_refused(template):
    for said in ([USER, REPLY], [SYSTEM], [USER, ("tool", "x")]):
        with pytest.raises(ValueError, match="the last message of problem set/7 is the"):
            Renderer(tokenizer(CHATML), template=template).render(turns(*said))


def test_earlier_turns_are_written_in_plain_as_worked_examples_are():
    renderer = Renderer(tokenizer(), format="Q: {prompt}\nA:", system_prompt="Be brief.")
    shown = text(renderer, turns(SYSTEM, USER, REPLY, USER, USER))
    assert shown == "Be brief.\n\nAdd.\n\nQ: 1+1\nA: 2\n\nQ: 1+1\n\n1+1\nA:"


@pytest.mark.parametrize("said", [[REPLY, USER], [USER, ("tool", "3"), USER], [USER, REPLY, SYSTEM, USER]])
def test_turns_that_plain_cannot_write_are_refused(said):
    with pytest.raises(ValueError, match=r"problem set/7 has a message of role '(assistant|tool|system)' there"):
        Renderer(tokenizer()).render(turns(*said))
    with pytest.raises(ValueError, match="assistant's turn, which template r1-zero cannot write"):
        Renderer(tokenizer(), template="r1-zero").render(turns(USER, REPLY, USER))


def test_a_system_prompt_that_the_template_ignores_is_refused():
    deaf = tokenizer(CHATML.replace("for m in messages", "for m in messages if m.role != 'system'"))
    with pytest.raises(ValueError, match=r"leaves out the system prompt in problem set/7; leave system_prompt \("):
        Renderer(deaf, template="chat", system_prompt="Add.").render(SUM)
    with pytest.raises(ValueError, match="leaves out the system prompt"):
        Renderer(deaf, template="chat").render(turns(SYSTEM, USER))
    assert Renderer(deaf, template="chat").render(SUM)


def test_variables_reach_the_chat_template():
    thinks = CHATML.replace(
        "<|assistant|>{%", "<|assistant|>{% if enable_thinking is false %}<think></think>{% endif %}{%"
    )
    renderer = Renderer(tokenizer(thinks), template="chat", template_variables={"enable_thinking": False})
    assert text(renderer).endswith("<|assistant|><think></think>")
    assert text(Renderer(tokenizer(thinks), template="chat")).endswith("<|assistant|>")


@pytest.mark.parametrize("variables, template, told", [
    ({"enable_thinkin": False}, "chat", "reads no 'enable_thinkin'; leave it out"),
    ({"messages": []}, "chat", "messages is set by the renderer"),
    ({"role": 1}, "plain", "template_variables go with template chat, not plain"),
])  # fmt: skip
def test_variables_that_reach_nothing_are_refused(variables, template, told):
    with pytest.raises(ValueError, match=told):
        Renderer(tokenizer(CHATML), template=template, template_variables=variables)
