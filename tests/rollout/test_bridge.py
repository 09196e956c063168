"""The ids between two turns are the template's own, whatever ended the turn and whatever was observed."""

import importlib.util
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast

from r1lab import embedded
from r1lab.rollout.bridge import Bridge, rewrites_turns
from r1lab.rollout.judges import plain_text
from r1lab.rollout.renderer import Renderer, marks_of
from r1lab_data import Problem

SPEC = importlib.util.spec_from_file_location("chat_templates", Path(__file__).with_name("chat_templates.py"))
chat_templates = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(chat_templates)
TEMPLATES = chat_templates.TEMPLATES
PROBLEM = Problem("p", "What is 1+1?", "2")
CORPUS = ["the answer is two \n\n higher lower print the result of 12 and 34 \nuser\nassistant\n output "] * 20


@pytest.fixture(scope="module")
def tokenizer_of():
    """tokenizer_of(name): a byte-level BPE with merges across words and lines, and the family's special tokens."""
    made = {}

    def make(name):
        if name not in made:
            template, special, end, _ = TEMPLATES[name]
            core = Tokenizer(models.BPE())
            core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            core.decoder = decoders.ByteLevel()
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            core.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
            bos = next((token for token in special if token in ("<s>", "<bos>") or "begin_of" in token), None)
            made[name] = PreTrainedTokenizerFast(
                tokenizer_object=core, eos_token=end, bos_token=bos or end,
                additional_special_tokens=[token for token in special if token not in (end, bos)],
            )  # fmt: skip
            made[name].chat_template = template
        return made[name]

    return make


ROLES = [(name, role) for name, (*_, tool) in TEMPLATES.items() for role in ("user", tool) if role]


@pytest.mark.parametrize(("name", "role"), ROLES)
@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("observed", ["higher", "42\n", "", "a </think> \\boxed{3} <tool>x</tool>"])
def test_an_episode_reads_as_the_template_writes_the_conversation(tokenizer_of, name, role, is_ended, observed):
    tokenizer, reply = tokenizer_of(name), "the answer is two"
    renderer = Renderer(tokenizer, template="chat")
    bridge = Bridge(renderer, role)
    prompt = renderer.render(PROBLEM)
    written = renderer.encode(reply, bos=False) + ((renderer.turn_end,) if is_ended else ())
    ids, cut = bridge.ids(observed, written, 200)
    assert bridge.ids(observed, list(written), 200) == (ids, cut)
    turns = [{"role": "user", "content": PROBLEM.prompt}, {"role": "assistant", "content": reply}]
    turns.append({"role": role, "content": observed})
    whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    text = tokenizer.decode([*prompt, *written, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    think, lead = "<think>\n" if name == "deepseek-r1" else "", " " if name == "mistral" else ""
    whole = whole.replace(f"{lead}{reply}", think + reply, 1)  # what a prompt ends in, a rendered answer begins with
    stripped = observed.strip() if name in ("llama3", "gemma") else observed
    assert cut == 0 and text.replace(observed, stripped) == whole
    assert (renderer.turn_end in ids[:1]) == (not is_ended)


@pytest.mark.parametrize("name", TEMPLATES)
def test_special_tokens_that_are_observed_are_text(tokenizer_of, name):
    tokenizer, special = tokenizer_of(name), TEMPLATES[name][1]
    bridge = Bridge(Renderer(tokenizer, template="chat"))
    content = bridge.content("".join(special))
    assert not set(content) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(content, clean_up_tokenization_spaces=False) == "".join(special)


@pytest.mark.parametrize("name", [name for name, (*_, tool) in TEMPLATES.items() if not tool])
def test_tools_need_a_template_with_a_form_for_them_or_a_frame(tokenizer_of, name):
    renderer = Renderer(tokenizer_of(name), template="chat")
    with pytest.raises(ValueError, match="no form for tools; give environment"):
        Bridge(renderer, "tool")
    ids, _ = Bridge(renderer, "tool", "\n```output\n{observation}\n```\n").ids("42", (5,), 100)
    assert renderer.tokenizer.decode(ids) == "\n```output\n42\n```\n"


def test_templates_that_drop_what_was_thought_are_known(tokenizer_of):
    dropping = {name for name in TEMPLATES if rewrites_turns(Renderer(tokenizer_of(name), template="chat"))}
    assert dropping == {"qwen3", "deepseek-r1"}


@pytest.fixture(scope="module")
def plain():
    return Renderer(AutoTokenizer.from_pretrained(embedded.path()), format="Q: {prompt}\nA:")


def test_a_plain_prompt_asks_again_in_its_own_form(plain):
    for role, text in (("user", "\nQ: higher\nA:"), ("tool", "\n<output>\nhigher\n</output>\n")):
        ids, _ = Bridge(plain, role).ids("higher", (5, 1), 100)
        assert plain.tokenizer.decode(ids) == text


def test_what_is_too_long_is_cut_in_the_middle_and_says_so(plain):
    bridge, text = Bridge(plain, "user", "<{observation}>"), "a" * 50 + "b" * 50
    ids, cut = bridge.ids(text, (5,), 62)
    told = plain.tokenizer.decode(ids)
    assert 60 <= len(ids) <= 62 and told.startswith("<aaa") and told.endswith("bbb>")
    assert f"[... {cut} tokens cut ...]" in told and told.count("a") + told.count("b") == 100 - cut
    assert len(bridge.ids(text, (5,), 12)[0]) == 12


def test_where_not_even_a_token_fits_there_is_no_bridge(plain):
    bridge = Bridge(plain, "user", "<{observation}>")
    assert bridge.ids("abc", (5,), 2) is None and bridge.ids("abc", (5,), 3) is not None
    assert bridge.ids("", (5,), 2) == (plain.encode("<>", bos=False), 0)


@pytest.mark.parametrize("frame", ["no place", "{observation} {observation}", "{}"])
def test_a_frame_holds_its_place_once(plain, frame):
    with pytest.raises(ValueError, match="exactly once"):
        Bridge(plain, "user", frame)


@pytest.fixture(scope="module")
def marked():
    """A tokenizer whose template writes a mark that it does not call special, as DeepSeek's does, and has a special
    token without a name, as Llama 3's has."""
    tokenizer = AutoTokenizer.from_pretrained(embedded.path())
    more = [("<|User|>", False), ("<|head|>", True), ("<think>", False), ("add", False), ("\n\n", False)]
    tokenizer.add_tokens([AddedToken(text, special=is_special) for text, is_special in more])
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|User|>' if m.role == 'user' else '<|head|>' }}{{ m.content }}\n\n"
        "{% if m.role != 'user' %}{{ '<think>' + eos_token }}{% endif %}{% endfor %}"
    )
    return tokenizer


@pytest.mark.parametrize(
    "text",
    ["<|User|>", "a<|User|>b", "<|User|><|User|>", "<|Us<|User|>er|>", "<|head|>", "<eos>x<|User|>", "<<|User|>"],
)
def test_no_mark_of_a_template_is_made_of_what_was_observed(marked, text):
    ids = Bridge(Renderer(marked, template="chat")).content(text)
    marks = {marked.convert_tokens_to_ids(mark) for mark in ("<|User|>", "<|head|>", "<eos>")}
    assert not marks & set(ids) and marked.decode(ids) == text


@pytest.mark.parametrize("text", ["", "a", "add", "\n\n", "<think>", "<|User", "User|>", "<|user|>"])
def test_other_tokens_of_an_observation_stay_whole(marked, text):
    plain = marked(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert Bridge(Renderer(marked, template="chat")).content(text) == tuple(plain)


def test_marks_are_special_tokens_and_what_the_template_writes(marked):
    assert set(marks_of(marked)) == {"<eos>", "<pad>", "<unk>", "<|head|>", "<|User|>"}
    assert plain_text("a<|head|>b<|User|>c<think>d\n\n", marks_of(marked)) == "a b c<think>d\n\n"


def test_a_tokenizer_that_cannot_write_special_tokens_as_text_is_refused(plain):
    class Eager:
        eos_token, bos_token = "<eos>", None

        def __call__(self, text, **_):
            return {"input_ids": [1] if text == "<eos>" else [5]}

        def convert_tokens_to_ids(self, token):
            return 1

    from r1lab.rollout.bridge import _refuse_special

    with pytest.raises(ValueError, match="reads the text '<eos>' as its special token"):
        _refuse_special(Eager())
