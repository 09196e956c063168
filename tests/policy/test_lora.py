"""An adapter is trained in the weights' place; what leaves the policy has it merged."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.policy import lora
from r1lab.recipe import LoraConfig, ObjectiveConfig

peft = pytest.importorskip("peft")
DEFAULT = build(ObjectiveConfig(preset="default"), max_new_tokens=16, group_size=8)


@pytest.fixture
def adapted(make_policy, make_samples):
    """A policy with an adapter after two updates, and what it learned from."""
    policy, samples = make_policy(lora=LoraConfig(rank=4)), make_samples(4, engine=-4.0)
    for _ in range(2):
        policy.update(samples, DEFAULT)
    return policy, samples


def test_an_adapter_begins_without_effect_and_as_its_seed_says(make_policy, make_samples):
    samples = make_samples(3)
    plain, one, two = make_policy(), make_policy(lora=LoraConfig()), make_policy(lora=LoraConfig())
    assert all((a == b).all() for a, b in zip(plain.score(samples), one.score(samples)))
    assert all(torch.equal(*pair) for pair in zip(one.model.parameters(), two.model.parameters()))


def test_only_the_adapter_is_trained(adapted, make_policy):
    policy, _ = adapted
    base = dict(make_policy().model.named_parameters())
    for name, weight in policy.model.named_parameters():
        if weight.requires_grad:
            assert ".lora_" in name and weight.grad is not None
        else:
            assert torch.equal(weight, base[name.replace(".base_layer", "")])
    assert sum(weight.requires_grad for weight in policy.model.parameters()) == 2 * 7 * 2  # 7 layers' A and B, twice


def test_an_engine_and_a_folder_get_merged_weights_under_the_models_own_names(adapted, make_policy, tmp_path):
    policy, samples = adapted
    policy.save(tmp_path)
    plain = make_policy(location=tmp_path)
    sent = dict(policy.named_tensors())
    assert sent.keys() == dict(plain.model.named_parameters()).keys()
    assert all(torch.equal(sent[name], weight) for name, weight in plain.model.named_parameters())
    for one, other in zip(policy.score(samples), plain.score(samples)):
        assert one == pytest.approx(other, abs=1e-4)
    before = make_policy().score(samples)
    assert max(abs(a - b).max() for a, b in zip(before, plain.score(samples))) > 1e-3


def test_an_engine_may_have_the_weights_below_and_the_adapter_apart(adapted, make_policy, tmp_path):
    policy, _ = adapted
    policy.save(tmp_path)
    below, plain = dict(policy.named_parts(True)), dict(make_policy().model.named_parameters())
    matrices = dict(policy.named_parts(False))
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert below.keys() == plain.keys() | matrices.keys() and matrices.keys() == saved.keys()
    assert all(torch.equal(below[name], each) for name, each in {**plain, **saved}.items())
    adapter = lora.adapter_of(policy.model)
    assert (adapter.rank, adapter.alpha, len(adapter.layers)) == (4, 32.0, 14)
    assert adapter.layers[0] == "model.layers.0.self_attn.q_proj" and lora.adapter_of(make_policy().model) is None


def test_peft_reads_the_adapter(adapted, tiny_model, tmp_path):
    policy, _ = adapted
    policy.save(tmp_path)
    read = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "adapter")
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        assert torch.allclose(read(ids).logits, policy.model(ids).logits, atol=1e-5)


def test_it_comes_back_bit_for_bit(adapted, make_policy, tmp_path):
    policy, samples = adapted
    policy.save(tmp_path)
    other = make_policy(lora=LoraConfig(rank=4))
    other.restore(tmp_path)
    other.load_state_dict(copy.deepcopy(policy.state_dict()))
    one, two = (each.update(samples, DEFAULT) for each in (policy, other))
    assert (one.loss, one.grad_norm) == (two.loss, two.grad_norm)
    assert all(torch.equal(*pair) for pair in zip(policy.model.parameters(), other.model.parameters()))


def test_a_reference_takes_the_merged_weights(make_policy, make_samples):
    policy, samples = make_policy(lora=LoraConfig(), needs_ref=True), make_samples(4, engine=-4.0)
    for _ in range(2):
        policy.update(samples, DEFAULT)
    policy.refresh_reference()
    for own, ref in zip(policy.score(samples), policy.score(samples, reference=True)):
        assert own == pytest.approx(ref, abs=1e-4)


def test_targets_that_the_model_has_not_are_one_line(make_policy):
    with pytest.raises(RecipeError, match=r"lora.targets: \('nowhere',\) does not fit llama"):
        make_policy(lora=LoraConfig(targets=("nowhere",)))


def test_an_embedding_that_is_the_output_layer_too_is_not_adapted():
    model = AutoModelForCausalLM.from_pretrained(embedded.path())
    with pytest.raises(RecipeError, match=r"\('embed_tokens',\) adapts the embedding, which is the output layer's"):
        lora.add_adapter(model, LoraConfig(targets=("embed_tokens",)), seed=0)
