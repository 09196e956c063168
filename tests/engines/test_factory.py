"""What an engine asks of this machine's GPUs is refused with the sum that says why; idle servers are said."""

import pytest
import torch
from transformers import Qwen2Config

from r1lab.engines import factory
from r1lab.engines.vllm import diagnose
from r1lab.errors import RecipeError
from r1lab.recipe import EngineConfig

SEVEN_B = Qwen2Config(
    vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
    num_key_value_heads=4, tie_word_embeddings=False,
)  # fmt: skip


@pytest.fixture
def gpus(monkeypatch):
    """gpus(count, processes, gib): a machine with vLLM and so many cards."""

    def there(count, processes=1, gib=80.0):
        card = type("Card", (), {"total_memory": gib * 2**30})
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
        monkeypatch.setattr(factory.ranks, "neighbours", lambda: processes)
        for name in ("missing", "unsupported"):
            monkeypatch.setattr(diagnose, name, lambda *_: None)

    return there


def test_more_processes_than_gpus_are_refused_with_the_sum(gpus):
    gpus(4, processes=8)
    with pytest.raises(RecipeError, match=r"8 processes x 1 GPU\(s\) each = 8 GPUs, and this machine has 4"):
        factory.check(EngineConfig(kind="vllm"), SEVEN_B)
    gpus(1)
    with pytest.raises(RecipeError, match=r"1 processes x 2 GPU\(s\) each = 2 GPUs, and this machine has 1"):
        factory.check(EngineConfig(kind="vllm", tensor_parallel=2), None)


def test_a_share_below_the_weights_is_refused_with_the_sum(gpus):
    gpus(1, gib=24.0)
    told = r"0\.4 x 24\.0 GiB = 9\.6 GiB, and the weights alone take 7\.6e9 x 2 bytes / 1 GPU\(s\) = 14\.2; raise it"
    with pytest.raises(RecipeError, match=told):
        factory.check(EngineConfig(kind="vllm"), SEVEN_B)
    for knobs in ({"gpu_memory_utilization": 0.9}, {}):
        gpus(8, processes=8, gib=80.0 if not knobs else 24.0)
        assert factory.check(EngineConfig(kind="vllm", **knobs), SEVEN_B) is None


def test_no_sum_is_made_without_a_gpu(gpus):
    gpus(0, processes=8)
    assert factory.check(EngineConfig(kind="vllm"), SEVEN_B) is None


@pytest.mark.parametrize(("engine", "prompts", "told"), [
    ({"kind": "server", "replicas": 3}, 2, ["3 servers and prompts_per_step: 2"]),
    ({"kind": "server", "urls": ["a:1", "a:2"]}, 1, ["so 1 of them sample nothing"]),
    ({"kind": "server", "replicas": 2}, 2, []), ({"kind": "local"}, 1, []), ({}, 1, []),
])  # fmt: skip
def test_servers_without_a_prompt_in_a_step_are_said(engine, prompts, told):
    notes = factory.notes(EngineConfig(**engine), prompts)
    assert len(notes) == len(told) and all(text in note for text, note in zip(told, notes))


def test_each_process_says_what_befalls_the_servers_that_it_asks(monkeypatch, capsys):
    factory._said_by_rank("server x is given up")
    monkeypatch.setattr(factory.ranks, "size", lambda: 2)
    monkeypatch.setattr(factory.ranks, "rank", lambda: 1)
    factory._said_by_rank("server x is given up")
    assert capsys.readouterr().err == "server x is given up\nrank 1: server x is given up\n"
