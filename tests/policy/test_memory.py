"""Estimated memory of a step on a GPU, against figures worked out by hand for Qwen2.5 on an H200."""

import pytest
from transformers import AutoConfig

from r1lab.distributed import sharding
from r1lab.policy import memory
from r1lab.recipe import LoraConfig

SIZES = {
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2,
             "vocab_size": 151936, "tie_word_embeddings": True},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4,
           "vocab_size": 152064, "tie_word_embeddings": False},
}  # fmt: skip
CARD = memory.CARDS["h200"] * memory.GIB


def need(make_stage, size, engine="vllm", processes=1, needs_ref=False, **knobs):
    config = AutoConfig.for_model("qwen2", num_hidden_layers=28, **SIZES[size])
    stage = make_stage(**{"micro_batch_tokens": 8192, "precision": "auto", **knobs})
    return memory.need(config, stage, needs_ref=needs_ref, engine=engine, card_bytes=CARD, processes=processes)


@pytest.mark.parametrize(
    "size, states, copies, activations, checkpointed, head",
    [("1.5B", 24.7, 3.1, 29, 2.5, 2.5), ("7B", 122, 15, 65, 5.6, 4.4)],
)
def test_the_parts_are_those_counted_by_hand(make_stage, size, states, copies, activations, checkpointed, head):
    update = need(make_stage, size).update  # the figures are in units of 1e9 bytes
    assert sum(update[name] for name in ("weights", "gradients", "moments")) / 1e9 == pytest.approx(states, rel=0.02)
    assert update["bfloat16 copies"] / 1e9 == pytest.approx(copies, rel=0.03)
    assert update["activations"] / 1e9 == pytest.approx(activations, rel=0.1)
    again = need(make_stage, size, activation_checkpointing=True).update
    assert again["activations"] / 1e9 == pytest.approx(checkpointed, rel=0.1)
    assert update["loss head"] / 1e9 == pytest.approx(head, abs=1.5)


def test_seven_billion_weights_do_not_fit_one_h200_in_full_but_do_as_an_adapter_or_in_two_processes(make_stage):
    assert need(make_stage, "1.5B").fits(CARD)
    assert not need(make_stage, "7B").fits(CARD)
    assert not need(make_stage, "7B", activation_checkpointing=True).fits(CARD)
    lora = {"activation_checkpointing": True, "lora": LoraConfig()}
    assert need(make_stage, "7B", **lora).fits(CARD)
    assert need(make_stage, "7B", activation_checkpointing=True, processes=4).fits(CARD)


def test_an_engine_awake_and_a_reference_count(make_stage):
    plain, beside = need(make_stage, "1.5B"), need(make_stage, "1.5B", needs_ref=True)
    assert plain.rollout["engine"] == 0.4 * CARD and plain.update["engine asleep"] == memory.ASLEEP_BYTES
    assert beside.rollout["reference"] == plain.update["bfloat16 copies"] and not plain.rollout["reference"]
    assert "gradients" not in plain.rollout


@pytest.mark.parametrize(
    "parallel, card, fits, expected",
    [
        ("auto", 0, False, "ddp"),
        ("auto", CARD, True, "ddp"),
        ("auto", CARD, False, "fsdp2"),
        ("ddp", CARD, False, "ddp"),
        ("fsdp2", 0, True, "fsdp2"),
    ],
)
def test_weights_are_split_where_a_step_does_not_fit_a_gpu(parallel, card, fits, expected, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    monkeypatch.setattr(sharding, "size", lambda: 2)
    monkeypatch.setattr(sharding, "card_bytes", lambda: card)
    assert sharding.resolved(parallel, lambda _: fits) == expected


def test_a_launcher_that_asks_for_fsdp_has_it(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(sharding, "size", lambda: 2)
    assert sharding.resolved("auto", lambda _: True) == "fsdp2"
