"""A model's folder renders a question as training did: both ways give the same ids."""

from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast, pipeline

import r1lab
from r1lab.hub.chat_template import TEMPLATE_FILE, chat_template
from r1lab.recipe import load
from r1lab.rollout.renderer import Renderer
from r1lab.stages.prepare import prepare
from r1lab_data import Problem

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(chat_template=None, adds_bos=False):
    """One token a character."""
    signs = [*map(chr, range(32, 127)), "\n", "\u00e9", "\U0001f600"]
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<eos>", "<bos>", *signs])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    if adds_bos:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    bos = {"bos_token": "<bos>"} if adds_bos else {}
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "chat_template": chat_template, **bos}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


EXAMPLES = [{"prompt": "1+1", "solution": "2"}, {"prompt": "it's {x}", "solution": "\n3"}]
PLAIN = {
    "default": {},
    "format": {"format": "Q: {prompt}\nA:"},
    "the question last": {"format": "Say '\"\\\\ {{ no }} {% of %}' {prompt}"},
    "system": {"system_prompt": "Add. \u00e9 \U0001f600 {{ x }}"},
    "examples": {"examples": EXAMPLES, "system_prompt": "Add."},
    "think": {"prefill_think": True},
    "think behind a line": {"prefill_think": True, "format": "Q: {prompt}\nA:\n"},
    "think is there": {"prefill_think": True, "format": "Q: {prompt}\nA: <think>\n"},
    "r1-zero": {"template": "r1-zero"},
    "r1-zero, opened": {"template": "r1-zero", "prefill_think": True, "system_prompt": "Add."},
}
ASKED = ["What is 1 + 2?", "end.  ", 'it\'s "{prompt}" {{ 7 * 7 }} {% raw %}', " spaced\n"]
TURNS = [
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1"}],
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
]
ANSWERED = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"}]


def same(renderer, prompt):
    """What the renderer and a tokenizer with the template make of a prompt."""
    known = renderer.tokenizer
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    template = chat_template(renderer)
    options = {"tokenize": True, "add_generation_prompt": True, "return_dict": False}
    if template is not None:
        options["chat_template"] = template
    return tuple(known.apply_chat_template(messages, **options)) == renderer.render(Problem("p", prompt, "1"))


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_a_text_prompt_is_rendered_alike(name, adds_bos):
    renderer = Renderer(tokenizer(adds_bos=adds_bos), **PLAIN[name])
    assert all(same(renderer, prompt) for prompt in [*ASKED, *map(tuple, TURNS)])
    if renderer.template == "plain" and not renderer.prefill_think:
        assert same(renderer, tuple(ANSWERED))


CHAT = {
    "nothing": {},
    "system": {"system_prompt": "it's 'so'"},
    "examples": {"examples": EXAMPLES, "system_prompt": "Add."},
    "think": {"prefill_think": True},
    "variables": {"template_variables": {"brief": True, "who": "me"}, "system_prompt": "Add."},
}
OWN = CHATML + "{% if brief %}({{ who }}){% endif %}\n"


@pytest.mark.parametrize("name", CHAT)
def test_a_chat_prompt_is_rendered_alike_and_what_the_recipe_adds_is_added_once(name):
    renderer = Renderer(tokenizer(OWN), template="chat", **CHAT[name])
    assert all(same(renderer, prompt) for prompt in [*ASKED, *map(tuple, TURNS)])
    known = tokenizer(chat_template(renderer) or OWN)
    again = Renderer(known, template="chat", **CHAT[name])
    assert all(again.render(Problem("p", each, "1")) == renderer.render(Problem("p", each, "1")) for each in ASKED)


def test_an_answer_ends_as_a_demonstration_does():
    renderer = Renderer(tokenizer(adds_bos=True), format="Q: {prompt}\nA:")
    problem = Problem("p", "1+1", "2", solution="2")
    messages = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    known = renderer.tokenizer.apply_chat_template(
        messages, chat_template=chat_template(renderer), tokenize=True, return_dict=False
    )
    assert tuple(known) == renderer.render(problem) + renderer.render_solution(problem)


def test_the_folder_of_a_trained_model_has_both(tmp_path):
    recipe = {
        "name": "asked", "data": {"task": "addition", "size": 8}, "max_new_tokens": 4, "threads": 1,
        "prompt": {"format": "Q: {prompt}\nA:", "system_prompt": "Add."}, "workers": {"count": 1}, "steps": 1,
        "prompts_per_step": 2, "group_size": 2, "sampling": {"stop": ["\n\n"], "stop_after": ["."]},
    }  # fmt: skip
    run = r1lab.train(recipe, f"out={tmp_path / 'run'}")
    ready = prepare(load.resolve(*load.read(recipe, [])))[0]
    known = AutoTokenizer.from_pretrained(run.model)
    for problem in ready.sources["addition"]:
        messages = [{"role": "user", "content": problem.prompt}]
        ids = known.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
        assert tuple(ids) == ready.renderer.render(problem)
    assert known.init_kwargs["stop_strings"] == ["\n\n", "."]
    said = pipeline("text-generation", model=run.model)("Add. 1+1", max_new_tokens=2)
    assert said[0]["generated_text"].startswith("Add. 1+1")
    assert (Path(run.model) / TEMPLATE_FILE).is_file()
