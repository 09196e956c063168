"""What a model is trained with changes its memory and speed, not its numbers."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.policy import compute
from r1lab.recipe import LoraConfig, ObjectiveConfig


def learned(policy, samples):
    update = policy.update(samples, build(ObjectiveConfig(preset="default"), max_new_tokens=16, group_size=8))
    return update.loss, [weight.grad for weight in policy.model.parameters()]


@pytest.mark.parametrize("attention", ["auto", "padded"])
def test_activations_computed_again_are_bit_for_bit_those_kept(make_policy, make_samples, attention):
    samples = make_samples(6, engine=-4.0)
    kept = learned(make_policy(attention=attention), samples)
    again = learned(make_policy(attention=attention, activation_checkpointing=True), samples)
    assert kept[0] == again[0] and all(torch.equal(*pair) for pair in zip(kept[1], again[1]))


def test_only_the_layers_inputs_are_kept_for_the_backward_pass():
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip

    def held(model):
        numbers = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: numbers.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            model(torch.arange(40)[None])
        return sum(numbers)

    model = LlamaForCausalLM(config).eval()
    before = held(model)
    compute.recompute_activations(model)
    assert held(model) < 0.4 * before


class OnGpu:
    """A policy's optimizer and device as on a GPU, which no test has."""

    type = "cuda"


def test_gradients_are_given_back_after_a_step_on_a_gpu_alone(make_policy, make_samples, monkeypatch):
    policy = make_policy()
    assert any(weight is not None for weight in learned(policy, make_samples(3, engine=-4.0))[1])
    monkeypatch.setattr(type(policy.accelerator), "device", OnGpu(), raising=False)
    for weight in policy.model.parameters():
        weight.grad = torch.zeros_like(weight)
    policy._step([])
    assert all(weight.grad is None for weight in policy.model.parameters())


def test_dropout_stays_off(make_policy, make_samples):
    policy = make_policy(activation_checkpointing=True)
    assert not any(module.training for module in policy.model.modules())


def test_what_this_machine_lacks_is_said_before_the_run(make_stage, monkeypatch):
    monkeypatch.setattr(compute.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"liger is not installed; run .*pip install -e '\.\[gpu\]'"):
        compute.check(make_stage(model_kernels="liger"))
    with pytest.raises(RecipeError, match=r"peft is not installed; run .*pip install -e '\.\[lora\]'"):
        compute.check(make_stage(lora=LoraConfig()))
    monkeypatch.setattr(compute.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="liger needs a GPU"):
        compute.check(make_stage(model_kernels="liger"))
    compute.check(make_stage())
