"""The local engine samples what the model says, and the same for the same requests."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from r1lab.records import RequestId, Role


@pytest.mark.parametrize("heads", [(2, 2), (4, 2), (4, 1)])
def test_greedy_equals_transformers_generate(lab, tokenizer, heads):
    model = lab.llama(heads=heads[0], key_heads=heads[1])
    rollouts = lab.run(lab.engine_of(model, tokenizer), lab.groups(size=1, temperature=0))
    for rollout in rollouts:
        prompt = torch.tensor([rollout.request.prompt_ids])
        expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
        assert list(rollout.completion_ids) == expected[0, prompt.shape[1] :].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_logprobs_equal_those_of_a_full_forward(lab, tokenizer, temperature, key_heads):
    model = lab.llama(heads=4, key_heads=key_heads)
    for rollout in lab.run(lab.engine_of(model, tokenizer), lab.groups(temperature=temperature)):
        expected = lab.reference_logprobs(model, rollout, temperature or 1.0)
        np.testing.assert_allclose(rollout.engine_logprobs, expected, atol=1e-5)
        assert rollout.engine_logprobs.dtype == np.float32


def test_logprobs_are_right_after_the_cache_grew(lab, tokenizer):
    model = lab.llama()
    model.generation_config.eos_token_id = None
    tokenizer_without_stop = type("Silent", (), {"eos_token_id": None, "decode": lambda self, ids, **_: ""})()
    rollouts = lab.run(lab.engine_of(model, tokenizer_without_stop), lab.groups(max_new_tokens=100))
    assert {len(rollout.completion_ids) for rollout in rollouts} == {100}
    for rollout in rollouts[::3]:
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout), atol=1e-5)


def test_logprobs_are_right_with_a_sliding_window(lab, tokenizer):
    config = MistralConfig(
        vocab_size=100,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        sliding_window=6,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    for rollout in lab.run(lab.engine_of(model, tokenizer), lab.groups()):
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout), atol=1e-5)


def test_a_prompt_is_prefilled_once_for_its_group(lab, tokenizer):
    engine, shapes = lab.engine_of(lab.llama(), tokenizer), []
    engine.model.register_forward_pre_hook(lambda _, __, kw: shapes.append(kw["input_ids"].shape), with_kwargs=True)
    lab.run(engine, lab.groups(size=5))
    assert shapes[0] == (4, 20) and {shape[1] for shape in shapes[1:]} == {1}


def test_a_wave_that_ended_frees_its_keys_at_once(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    engine.submit(lab.groups())
    rollouts = engine.completed()
    next(rollouts)
    keys = weakref.ref(engine.wave.cache.layers[0].keys)
    gc.disable()
    try:
        list(rollouts)
        assert engine.wave is None and keys() is None
    finally:
        gc.enable()


def test_sequences_that_ended_leave_the_batch(lab, tokenizer):
    engine, sizes = lab.engine_of(lab.llama(), tokenizer), []
    engine.model.register_forward_pre_hook(lambda _, __, kw: sizes.append(len(kw["input_ids"])), with_kwargs=True)
    lab.run(engine, [lab.request(0, lab.PROMPTS[0], i, max_new_tokens=1 + 2 * i, temperature=9) for i in range(4)])
    assert sizes[1:] == sorted(sizes[1:], reverse=True) and sizes[-1] == 1 and len(sizes) <= 7


def test_the_same_requests_give_the_same_rollouts_after_other_work(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    first = lab.run(engine, lab.groups())
    torch.manual_seed(5)
    lab.run(engine, [lab.request(9, (5, 6), i, max_new_tokens=90) for i in range(7)])
    second = lab.run(engine, lab.groups())
    assert lab.ids(first) == lab.ids(second) and [r.text for r in first] == [r.text for r in second]
    assert all(np.array_equal(a.engine_logprobs, b.engine_logprobs) for a, b in zip(first, second))


def test_a_rollout_does_not_depend_on_its_company(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    together = lab.run(engine, lab.groups())
    alone = [lab.run(engine, [each.request])[0] for each in together]
    engine.max_batch = 5
    in_waves = lab.run(engine, lab.groups())
    assert lab.ids(together) == lab.ids(alone) == lab.ids(in_waves)


def test_members_of_a_group_differ_and_the_global_generator_is_left_alone(lab, tokenizer):
    state = torch.random.get_rng_state()
    engine = lab.engine_of(lab.llama(), tokenizer)
    torch.random.set_rng_state(state)
    other = lab.engine_of(model := lab.llama(), tokenizer)
    torch.random.set_rng_state(state)
    engine.__class__(model, tokenizer)
    rollouts = lab.run(other, lab.groups(size=8))
    assert torch.equal(torch.random.get_rng_state(), state) and len(set(lab.ids(rollouts[:8]))) > 4


@pytest.mark.parametrize("eos", [1, 2])
def test_every_eos_id_stops_and_is_kept_with_its_logprob(lab, tokenizer, eos):
    model = lab.llama(tied=False)
    model.lm_head.weight.data[eos] = 0.5 * model.lm_head.weight.data.abs().sum(0).sign()
    rollouts = lab.run(lab.engine_of(model, tokenizer), lab.groups(size=30, temperature=1.5))
    ended = [rollout for rollout in rollouts if rollout.finish == "eos" and rollout.completion_ids[-1] == eos]
    assert ended
    for rollout in rollouts:
        assert not {1, 2} & set(rollout.completion_ids[:-1])
        assert (rollout.completion_ids[-1] in (1, 2)) == (rollout.finish == "eos")
        assert np.isfinite(rollout.engine_logprobs).all() and len(rollout.engine_logprobs) == len(rollout.role)
    assert "<" not in "".join(r.text for r in ended if "<" not in tokenizer.decode(r.completion_ids[:-1]))


def test_a_padding_token_that_is_sampled_is_a_token_like_any_other(lab, tokenizer):
    model = lab.llama(tied=False)
    model.lm_head.weight.data *= 0  # uniform: token 0, the padding, comes up too
    rollouts = lab.run(lab.engine_of(model, tokenizer), lab.groups(size=30))
    holds = [rollout for rollout in rollouts if 0 in rollout.completion_ids[:-1]]
    assert holds
    for rollout in rollouts:
        np.testing.assert_allclose(rollout.engine_logprobs, -math.log(100), atol=1e-5)


def test_stop_strings_stop_and_keep_the_ids(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    free = lab.run(engine, lab.groups(temperature=2.0))
    middle = [tokenizer.decode(rollout.completion_ids)[3:5] for rollout in free if len(rollout.completion_ids) > 8]
    stop = (middle[0], middle[1])
    stopped = lab.run(engine, lab.groups(temperature=2.0, stop=stop))
    assert any(rollout.finish == "stop" for rollout in stopped)
    for whole, cut in zip(free, stopped):
        text = tokenizer.decode(whole.completion_ids)
        ends = [text.find(s) + len(s) for s in stop if s in text]
        expected = whole.completion_ids[: min(ends)] if ends else whole.completion_ids  # a token is a character here
        assert "<" in text or cut.completion_ids == expected
        assert cut.finish == "stop" or not ends
        assert cut.finish != "stop" or not any(s in cut.text for s in stop)
    for cut, kept in zip(stopped, lab.run(engine, lab.groups(temperature=2.0, stop_after=stop))):
        assert (kept.completion_ids, kept.finish) == (cut.completion_ids, cut.finish)
        assert kept.text.startswith(cut.text) and (kept.finish != "stop" or kept.text.endswith(stop))


def test_forced_tokens_come_first_and_are_not_sampled(lab, tokenizer):
    model = lab.llama(heads=4, key_heads=2)
    forced, roles = (50, 1, 51), (Role.PREFIX, Role.PREFIX, Role.CONTEXT)  # the EOS among them stops nothing
    requests = [
        *lab.groups(),
        *(lab.request(7, lab.PROMPTS[0], i, forced_ids=forced, forced_role=roles) for i in range(3)),
    ]
    for rollout in lab.run(lab.engine_of(model, tokenizer), requests)[-3:]:
        assert rollout.completion_ids[:3] == forced and len(rollout.completion_ids) > 3
        assert rollout.role.tolist() == [*roles, *[Role.POLICY] * (len(rollout.completion_ids) - 3)]
        assert np.isnan(rollout.engine_logprobs[:3]).all() and rollout.role.dtype == np.int8
        np.testing.assert_allclose(rollout.engine_logprobs[3:], lab.reference_logprobs(model, rollout)[3:], atol=1e-5)


def test_forced_tokens_alone_are_a_rollout_and_count_in_the_length(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    demo = lab.request(0, lab.PROMPTS[0], forced_ids=(50, 51), forced_role=[Role.DEMO] * 2, max_new_tokens=2)
    mixed = lab.request(1, lab.PROMPTS[0], forced_ids=(50, 51), forced_role=[Role.PREFIX] * 2, max_new_tokens=3)
    full, cut = lab.run(engine, [demo, mixed])
    assert full.completion_ids == (50, 51) and full.finish == "length" and np.isnan(full.engine_logprobs).all()
    assert len(cut.completion_ids) == 3
    with pytest.raises(ValueError, match="train:0:0"):
        engine.submit(
            [lab.request(0, lab.PROMPTS[0], forced_ids=(50, 51), forced_role=[Role.DEMO] * 2, max_new_tokens=1)]
        )


def test_length_ends_what_nothing_else_ends(lab, tokenizer):
    rollouts = lab.run(lab.engine_of(lab.llama(), tokenizer), lab.groups(max_new_tokens=4))
    assert any(rollout.finish == "length" for rollout in rollouts)
    assert all(len(rollout.completion_ids) == 4 for rollout in rollouts if rollout.finish == "length")


def test_aborted_requests_end_and_the_others_do_not_notice(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer, max_batch=10)
    whole = lab.run(engine, lab.groups())
    engine.submit(lab.groups())
    stream = engine.completed()
    first = next(stream)
    unwanted = {RequestId("train", d, 1) for d in range(4)} - {first.request.id}
    engine.abort([*unwanted, RequestId("train", 99, 0)])
    rollouts = {rollout.request.id: rollout for rollout in (first, *stream)}
    assert len(rollouts) == 12
    for before in whole:
        after = rollouts[before.request.id]
        if after.request.id not in unwanted:
            assert after.completion_ids == before.completion_ids
        elif after.finish == "abort":
            assert len(after.completion_ids) < len(before.completion_ids)
    assert sum(rollout.finish == "abort" for rollout in rollouts.values()) >= 2
    assert lab.ids(lab.run(engine, lab.groups())) == lab.ids(whole)


def test_a_stream_that_is_left_goes_on_where_it_was(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer)
    engine.submit(lab.groups(max_new_tokens=1))  # all end at once
    next(engine.completed())
    assert len(list(engine.completed())) == 11 and list(engine.completed()) == []


def test_truncation_is_each_rows_own_and_leaves_logprobs_alone(lab, tokenizer):
    model = lab.llama()
    cut = [lab.request(0, lab.PROMPTS[0], i, temperature=5, top_k=2) for i in range(20)]
    *narrow, free = lab.run(lab.engine_of(model, tokenizer), [*cut, lab.request(1, lab.PROMPTS[1])])
    assert len({rollout.completion_ids[0] for rollout in narrow}) == 2
    for rollout in narrow:
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout, 5), atol=1e-5)
    assert [free.completion_ids] == lab.ids(lab.run(lab.engine_of(model, tokenizer), [free.request]))


@pytest.mark.parametrize(
    "prompt_ids, sampling, message",
    [
        (range(5, 110), {"max_new_tokens": 24}, "train:4:0.*105 prompt tokens.*24.*128.*23 new tokens"),
        ((), {}, "train:4:0.*no tokens"),
        ((100,), {}, "train:4:0.*token 100"),
        ((5,), {"max_new_tokens": 0}, "train:4:0.*max_new_tokens"),
        ((5,), {"top_p": 0.0}, "train:4:0.*top_p"),
        ((5,), {"stop": ("",)}, "train:4:0.*stop"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_by_name(lab, tokenizer, prompt_ids, sampling, message):
    engine = lab.engine_of(lab.llama(), tokenizer)
    with pytest.raises(ValueError, match=message):
        engine.submit([lab.request(0, lab.PROMPTS[0]), lab.request(4, prompt_ids, **sampling)])
    assert list(engine.completed()) == []


def test_a_prompt_that_just_fits_the_context_is_served(lab, tokenizer):
    (rollout,) = lab.run(
        lab.engine_of(lab.llama(), tokenizer), [lab.request(0, range(3, 98), max_new_tokens=33, temperature=0)]
    )
    assert len(rollout.completion_ids) <= 33


def test_the_text_is_made_by_the_callable_the_engine_was_given(lab, tokenizer):
    engine = lab.engine_of(lab.llama(), tokenizer, text_of=lambda ids, prompt_ids, _: f"{len(prompt_ids)}+{len(ids)}")
    for rollout in lab.run(engine, lab.groups(size=1)):
        assert rollout.text == f"{len(rollout.request.prompt_ids)}+{len(rollout.completion_ids)}"


@pytest.mark.parametrize("key_heads", [2, 1])
def test_what_all_prompts_begin_with_is_prefilled_once_and_logprobs_are_right(lab, tokenizer, key_heads):
    model, example = lab.llama(key_heads=key_heads), tuple(range(30, 50))
    engine, shapes = lab.engine_of(model, tokenizer), []
    engine.model.register_forward_pre_hook(lambda _, __, kw: shapes.append(kw["input_ids"].shape), with_kwargs=True)
    tails = [(10,), (11, 12, 13, 14), (11, 12, 60, 61, 62, 63, 64), ()]
    prompts = [example + tail for tail in tails[:3]]
    requests = [lab.request(number, prompt, index) for number, prompt in enumerate(prompts) for index in range(3)]
    for rollout in lab.run(engine, requests):
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout), atol=1e-5)
    assert shapes[:2] == [(1, 20), (3, 7)]
    shapes.clear()  # one prompt that is the beginning of another keeps a token of its own
    for rollout in lab.run(engine, [lab.request(0, example, 0), lab.request(1, prompts[1], 0)]):
        np.testing.assert_allclose(rollout.engine_logprobs, lab.reference_logprobs(model, rollout), atol=1e-5)
    assert shapes[:2] == [(1, 19), (2, 5)]
