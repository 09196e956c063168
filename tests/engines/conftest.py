"""Tiny random models, a tokenizer of one token a character, requests and their rollouts."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from r1lab.engines import make
from r1lab.engines.sync import send
from r1lab.records import Request, RequestId, Sampling
from r1lab.seeds import derive

PROMPTS = [(10, 11, 12), (20, 21, 22, 23, 24, 25, 26, 27), (30,), tuple(range(40, 60))]


@pytest.fixture(scope="session")
def tokenizer():
    pieces = ["<pad>", "<eos>", "<end>", *map(chr, range(32, 127)), "\n", "?!"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", additional_special_tokens=["<end>"]
    )


def llama(seed=0, heads=2, key_heads=2, tied=True, scale=0.2, **settings):
    """A Llama whose wide weights make it prefer some tokens. `<end>` is a second EOS."""
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        initializer_range=scale,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        **settings,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = [1, 2]
    return model


def engine_of(model, tokenizer, **settings):
    engine = make("local", model, tokenizer, **settings)
    send(engine, model.named_parameters, 0)
    return engine


def request(draw, prompt_ids, index=0, *, forced_ids=(), forced_role=(), seed=0, **sampling):
    return Request(
        id=RequestId("train", draw, index),
        problem_id=f"p{draw}",
        prompt_ids=tuple(prompt_ids),
        seed=derive(seed, "test", draw, index),
        sampling=Sampling(**{"max_new_tokens": 24, **sampling}),
        forced_ids=tuple(forced_ids),
        forced_role=tuple(forced_role),
    )


def run(engine, requests):
    """Rollouts in the order of the requests."""
    engine.submit(requests)
    rollouts = {rollout.request.id: rollout for rollout in engine.completed()}
    return [rollouts[each.id] for each in requests]


def groups(size=3, **sampling):
    return [request(d, ids, i, **sampling) for d, ids in enumerate(PROMPTS) for i in range(size)]


def reference_logprobs(model, rollout, temperature=1.0):
    """log_softmax of one full forward at the sampled tokens."""
    prompt, completion = rollout.request.prompt_ids, rollout.completion_ids
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1)[range(len(completion)), completion].numpy()


def ids(rollouts):
    return [rollout.completion_ids for rollout in rollouts]


@pytest.fixture(scope="session")
def lab():
    """The functions above: with importlib a test cannot import them."""
    return SimpleNamespace(
        PROMPTS=PROMPTS,
        llama=llama,
        engine_of=engine_of,
        request=request,
        run=run,
        groups=groups,
        reference_logprobs=reference_logprobs,
        ids=ids,
    )
