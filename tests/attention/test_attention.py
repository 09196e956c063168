"""A model reads packed rows where it then computes what it computed before."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from r1lab import attention
from r1lab.attention import NAME
from r1lab.errors import RunError
from r1lab.policy.packing import pack
from r1lab.records import Sample

SIZES = {
    "vocab_size": 99, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "initializer_range": 0.2,
    "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "Llama": {},
    "SmolLM3": {},
    "Qwen2": {},
    "Qwen3": {},
    "Mistral": {"sliding_window": 8},
    "Gemma": {},
    "Gemma2": {"sliding_window": 8},
    "Gemma3Text": {"sliding_window": 8},
}


def make(family, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(SIZES | settings))
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def samples(make_rollout):
    """Two prompts, one longer than any window, of three completions each."""
    made = []
    for number, prompt in enumerate([tuple(range(4, 24)), (9, 8, 7)]):
        for index in range(3):
            rollout = make_rollout(prompt, tuple(range(30 + index, 35 + 5 * index + number)), index=index)
            made.append(Sample(rollout, rollout.role, *([rollout.engine_logprobs] * 2)))
    return made


def states(model, samples, *, shared):
    """Hidden states that predict each sample's tokens, and the gradient of a loss on them by all weights."""
    (batch,) = pack(samples, micro_batch_tokens=10**6, device=torch.device("cpu"), shared=shared)
    hidden = attention.forward(model.base_model, batch.input_ids, batch.position_ids, batch.segments)
    hidden = hidden.flatten(0, 1)[batch.hidden_index]
    order = batch.sequence.argsort(stable=True)
    hidden = hidden[order]
    model.zero_grad()
    (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    weights = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return hidden.detach(), torch.cat(weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_row_is_the_padded_rows_in_states_and_gradients(samples, family):
    model = make(family, **FAMILIES[family])
    padded, by_padded = states(model, samples, shared=False)
    assert attention.use_packed_attention(model) and model.config._attn_implementation == NAME
    packed, by_packed = states(model, samples, shared=True)
    assert (packed - padded).norm() <= 1e-5 * padded.norm()
    assert (by_packed - by_padded).norm() <= 1e-5 * by_padded.norm()


def test_perturbing_one_completion_leaves_every_other_bit_equal(samples, make_rollout):
    model = make("Llama")
    attention.use_packed_attention(model)
    old = samples[1].rollout
    rollout = make_rollout(old.request.prompt_ids, [50] * len(old.completion_ids), index=1)
    changed = [samples[0], Sample(rollout, old.role, *([old.engine_logprobs] * 2)), *samples[2:]]
    found = []
    for each in (samples, changed):
        (batch,) = pack(each, micro_batch_tokens=10**6, device=torch.device("cpu"), shared=True)
        with torch.no_grad():
            hidden = attention.forward(model.base_model, batch.input_ids, batch.position_ids, batch.segments)[0]
        found.append([hidden[batch.hidden_index[batch.sequence == index]] for index in range(6)])
    assert all(torch.equal(*pair) for index, pair in enumerate(zip(*found)) if index != 1)
    assert not torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "family, settings",
    [
        ("Mamba", {}),  # no attention at all
        ("GptOss", {}),  # its sinks are computed eagerly
        ("Bamba", {}),  # a state runs through the row from one sequence to the next
        ("Llama4Text", {"attention_chunk_size": 64}),  # chunks longer than what is tried
    ],
)
def test_a_model_that_computes_anything_else_in_a_packed_row_is_left_as_it_was(family, settings):
    model = make(family, **settings)
    before = model.config._attn_implementation
    assert not attention.use_packed_attention(model) and model.config._attn_implementation == before


def test_why_rows_are_padded_is_said_and_on_a_gpu_only_a_models_own_way_is_no_error(monkeypatch):
    said, model = [], make("Llama")
    faults = iter(
        [TypeError("no sinks"), RuntimeError("gcc:\nnot found"), None, TypeError("no sinks"), RuntimeError("gcc")]
    )

    def tried(*_):
        if fault := next(faults):
            raise fault
        return False

    monkeypatch.setattr(attention, "_same", tried)
    for _ in range(3):
        assert not attention.use_packed_attention(model, said.append)
    whys = ("TypeError: no sinks", "RuntimeError: gcc: not found", "it computes otherwise in packed rows")
    assert [line.partition(" completion: ")[2] for line in said] == list(whys)
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    before = model.config._attn_implementation
    assert not attention.use_packed_attention(model, said.append) and len(said) == 4
    with pytest.raises(RunError, match=r"do not run on this GPU: RuntimeError: gcc; .*attention: padded goes without"):
        attention.use_packed_attention(model, said.append)
    assert before == "sdpa"


def test_without_segments_attention_is_that_of_transformers():
    model, ids = make("Qwen3"), torch.arange(12)[None]
    with torch.no_grad():
        before = model(ids).logits
        assert attention.use_packed_attention(model) and torch.equal(model(ids).logits, before)


def test_what_is_not_computed_is_an_error_and_not_left_out():
    query = torch.zeros(1, 2, 5, 8)
    with pytest.raises(TypeError, match="s_aux"):
        attention.attend(None, query, query, query, None, packed=attention.TRY[:1], s_aux=torch.zeros(2))
    with pytest.raises(TypeError, match="dropout"):
        attention.attend(None, query, query, query, None, packed=attention.TRY[:1], dropout=0.1)
