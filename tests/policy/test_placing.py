"""What a model without memory is filled with: weights by their files' names, buffers by its configuration."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from r1lab import embedded
from r1lab.distributed import sharding
from r1lab.policy import classifier, models
from r1lab.policy.placing import _buffers, stays_exact
from r1lab.run import checkpoint

TINY = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "llama": {"tie_word_embeddings": True}, "mistral": {}, "qwen2": {}, "qwen3": {}, "gemma2": {}, "gemma3_text": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2}, "gpt_neox": {}, "phi": {}, "olmo2": {}, "cohere": {},
    "granite": {},
}  # fmt: skip


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    config = AutoConfig.for_model(request.param, **TINY, **FAMILIES[request.param])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_an_empty_model_has_the_names_types_and_buffers_of_the_whole_one(folder, dtype):
    whole, empty = models.load_model(str(folder), dtype), models.load_model(str(folder), dtype, is_empty=True)
    assert all(weight.is_meta for weight in empty.parameters())
    for ours, theirs in (
        (sharding.weights(empty), sharding.weights(whole)),
        (_buffers(empty), dict(whole.named_buffers())),
    ):
        assert {name: (t.shape, t.dtype) for name, t in ours.items()} == {
            name: (t.shape, t.dtype) for name, t in theirs.items()
        }
    assert all(torch.equal(buffer, _buffers(empty)[name]) for name, buffer in whole.named_buffers())
    assert empty.config.to_json_string() == whole.config.to_json_string()
    assert empty.generation_config.to_json_string() == whole.generation_config.to_json_string()


def test_the_files_fill_it_with_what_the_whole_one_has(folder):
    whole, empty = models.load_model(str(folder)), models.load_model(str(folder), is_empty=True)
    assert models.is_as_stored(empty) == (whole.config.model_type != "gpt_neox")  # whose file has other names
    if not models.is_as_stored(empty):
        return
    named = sharding.stored(empty, models.weight_files(str(folder)))
    assert named is not None
    found = dict(named)
    assert found.keys() == sharding.weights(whole).keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in sharding.weights(whole).items())


@pytest.fixture
def changed(tiny_model, tmp_path):
    """A copy of a model whose file holds what a function makes of its tensors."""

    def make(change, location=tiny_model):
        model = models.load_model(str(location))
        model.save_pretrained(tmp_path / "copy")
        tensors = load_file(tmp_path / "copy" / "model.safetensors")
        save_file(change(tensors), tmp_path / "copy" / "model.safetensors", {"format": "pt"})
        return tmp_path / "copy"

    return make


def named(folder, given=()):
    model = models.load_model(str(folder), is_empty=True)
    files = models.weight_files(str(folder))
    return sharding.stored(model, files, given) if models.is_as_stored(model) else None


def test_a_trunk_alone_and_what_no_model_has_are_read_by_the_names_that_they_get(changed, tiny_model):
    def of_trunk(tensors):
        short = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
        return short | {"rotary_emb.inv_freq": torch.ones(3), "other": torch.ones(2)}

    found = dict(named(changed(of_trunk)))
    whole = sharding.weights(models.load_model(str(tiny_model)))
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("how", ["absent", "shape", "tied twice", "tied alike", "twice"])
def test_files_that_hold_something_else_are_left_to_transformers(changed, how):
    name = "model.norm.weight"
    changes = {
        "absent": lambda tensors: {key: tensors[key] for key in tensors if key != name},
        "shape": lambda tensors: tensors | {"model.layers.0.mlp.up_proj.weight": torch.ones(96, 32)},
        "tied twice": lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"] + 1},
        "tied alike": lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()},
        "twice": lambda tensors: tensors | {"norm.weight": tensors[name] + 1},
    }
    location = {"location": embedded.path()} if how.startswith("tied") else {}
    if how == "shape":
        with pytest.raises(Exception, match=r"mismatch|size"):
            named(changed(changes[how], **location))
    else:
        assert named(changed(changes[how], **location)) is None


def test_experts_that_transformers_stacks_are_left_to_it(tmp_path):
    config = AutoConfig.for_model("mixtral", **TINY, num_local_experts=2, num_experts_per_tok=1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    assert not models.is_as_stored(models.load_model(str(tmp_path), is_empty=True))
    assert models.is_as_stored(models.load_model(str(embedded.path())))


def test_which_files_hold_the_weights(tmp_path):
    assert models.weight_files(str(tmp_path)) == models.weight_files("no/such-model") == []
    (tmp_path / "consolidated.safetensors").touch()
    assert models.weight_files(str(tmp_path)) == []
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert [path.name for path in models.weight_files(str(tmp_path))] == ["model-1.safetensors", "model-2.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert [path.name for path in models.weight_files(str(tmp_path))] == ["model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    assert models.weight_files(str(tmp_path)) == []


def test_a_new_head_is_given_and_the_rest_is_read(tiny_model):
    empty = classifier.load_classifier(str(tiny_model), seed=3, is_empty=True)
    whole = classifier.load_classifier(str(tiny_model), seed=3)
    given = classifier.new_head(empty, str(tiny_model), 3)
    found = dict(sharding.stored(empty, models.weight_files(str(tiny_model)), given)) | given
    assert given.keys() == {"score.weight"} and found.keys() == sharding.weights(whole).keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in sharding.weights(whole).items())


def test_a_whole_tensor_of_another_shape_fills_nothing():
    with pytest.raises(ValueError, match=r"shape \[3, 2\] does not fill one of \[2, 2\]"):
        sharding.fill(torch.zeros(2, 2), torch.ones(3, 2))


def test_what_a_family_keeps_in_float32_is_not_cast(tiny_model):
    model = models.load_model(str(tiny_model))
    assert not any(stays_exact(model, name) for name, _ in model.named_parameters())
    model._keep_in_fp32_modules_strict = {"norm"}
    kept = {name for name, _ in model.named_parameters() if stays_exact(model, name)}
    assert kept and all("norm" in name for name in kept)


def test_a_reference_in_bfloat16_is_half_as_large_and_scores_nearly_the_same(make_policy, make_samples, tmp_path):
    half, full = (make_policy(needs_ref=True, reference_precision=name) for name in ("bf16", "policy"))
    assert {weight.dtype for weight in half.reference.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in half.model.parameters()} == {torch.float32}
    angles = dict(half.model.named_buffers())
    assert all(torch.equal(buffer, angles[name]) for name, buffer in half.reference.named_buffers())
    samples = make_samples(4)
    for ours, exact in zip(half.score(samples, reference=True), full.score(samples, reference=True), strict=True):
        assert 0 < abs(ours - exact).max() < 0.2
    with torch.no_grad():
        half.model.model.norm.weight += 0.1
    half.refresh_reference()
    assert torch.equal(half.reference.model.norm.weight, half.model.model.norm.weight.bfloat16())
    checkpoint.save(tmp_path / "rl-1", {"policy": half}, half.save_beside)
    again = make_policy(needs_ref=True, reference_precision="bf16")
    checkpoint.load(tmp_path / "rl-1", {"policy": again})
    assert torch.equal(again.reference.model.norm.weight, half.reference.model.norm.weight)
