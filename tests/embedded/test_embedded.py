import random
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from r1lab import embedded
from r1lab.embedded import card, corpus, make
from r1lab_data.tasks import generate, split_of


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(embedded.path())


def test_the_folder_loads_and_is_small():
    model = AutoModelForCausalLM.from_pretrained(embedded.path())
    size = sum(file.stat().st_size for file in embedded.path().iterdir())
    assert size <= 4 * 2**20
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.head_dim in (32, 64)


def test_generation_is_neither_cut_off_nor_endless(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(embedded.path())
    config = AutoConfig.from_pretrained(embedded.path())
    settings = model.generation_config
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert (settings.eos_token_id, settings.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert not settings.top_k and settings.top_p in (None, 1.0)


@settings(max_examples=200)
@given(text=st.text(alphabet=make.CHARACTERS))
def test_printable_ascii_round_trips_one_token_a_character(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_a_foreign_character_is_unknown_and_nothing_crashes(tokenizer):
    ids = tokenizer("2\u00d73\t\U0001f600").input_ids
    assert [index == tokenizer.unk_token_id for index in ids] == [False, True, False, True, True]


def test_the_chat_template_renders_the_plain_form(tokenizer):
    asked = [{"role": "user", "content": "12+34"}]
    answered = [*asked, {"role": "assistant", "content": "46"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert prompt == "Q: 12+34\nA:"
    assert tokenizer.apply_chat_template(answered, tokenize=False) == prompt + " 46<eos>"


def test_the_corpus_comes_from_its_seed():
    first, again, other = (list(islice(corpus.documents(random.Random(seed)), 300)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_corpus_is_ascii_and_fits_the_context():
    for page in islice(corpus.documents(random.Random(0)), 2000):
        assert set(page) <= set(make.CHARACTERS)
        assert len(page) < make.SHAPE["max_position_embeddings"]


def test_no_page_asks_an_addition_of_the_eval_split():
    pages = islice(corpus.documents(random.Random(3)), 5000)
    asked = [match[0] for page in pages for match in re.finditer(r"(?<=: )\d+\+\d+(?=\n)", page)]
    assert len(asked) > 4000
    assert {split_of("addition", prompt) for prompt in asked} == {"train"}


def test_a_worked_answer_without_slips_is_the_demonstration():
    for problem in generate("addition", size=50, seed=0, split="train", source="test"):
        a, b = map(int, problem.prompt.split("+"))
        assert corpus.worked(random.Random(0), a, b, slip=0.0) == problem.solution


@pytest.mark.slow
def test_the_card_says_what_the_model_scores(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(embedded.path())
    scores = card.measure(model, tokenizer, seed=0)
    assert 0.18 <= scores["accuracy"] <= 0.24
    said = re.search(r"\| right \| (0\.\d+) \|", (embedded.path() / "README.md").read_text(encoding="utf-8"))
    assert scores["accuracy"] == pytest.approx(float(said[1]), abs=0.03)


def test_making_it_twice_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "BATCH_ROWS", 8)
    for name in ("one", "two"):
        make.make(tmp_path / name, seed=5, steps=2)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
