"""The last layer of a model as the loss head computes it: what it scores is what the model's own logits say."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from r1lab import kernels
from r1lab.errors import RecipeError
from r1lab.policy import models

SMALL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES = {
    "llama": {},
    "gemma2": {"final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0},
    "phi": {},  # its head has a bias
}


@pytest.fixture
def tiny():
    def make(family, **settings):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **SMALL, **settings)
        return AutoModelForCausalLM.from_config(config).eval()

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_scores_what_the_models_own_logits_say(tiny, family):
    model, ids = tiny(family, **FAMILIES[family]), torch.arange(3, 13)[None]
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
        if model.get_output_embeddings().bias is not None:
            model.get_output_embeddings().bias.normal_()
        truth = (model(ids).logits[0, :-1].double() / 0.7).log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        hidden, layer = model.base_model(ids).last_hidden_state[0, :-1], models.output_layer(model)
        found = kernels.token_logps(
            hidden, layer.weight, ids[0, 1:], bias=layer.bias, softcap=layer.softcap, temperature=0.7 / layer.scale
        )
    assert (found.logp - truth).abs().max() <= 2e-5
    assert truth.std() > 0.1


@pytest.mark.parametrize("key", ["logit_scale", "logits_scaling", "final_logit_softcapping"])
def test_a_family_that_would_scale_its_logits_otherwise_is_refused(tiny, key):
    with pytest.raises(RecipeError, match=f"llama has {key} = 2.0"):
        models.output_layer(tiny("llama", **{key: 2.0}))


def test_an_adapter_on_the_output_layer_is_refused_with_the_remedy(tiny):
    class Adapted(torch.nn.Linear):
        """As peft wraps a layer: its weight alone is not what it computes."""

    model = tiny("llama")
    model.set_output_embeddings(Adapted(32, 60, bias=False))
    with pytest.raises(RecipeError, match=r"output layer is Adapted, .* leave lm_head out of its target modules"):
        models.output_layer(model)


@pytest.mark.parametrize(("listed", "then"), [(None, [7]), (2, [2, 7]), ([2, 3], [2, 3, 7]), ([7, 2], [7, 2])])
def test_a_model_stops_at_the_turns_end_of_its_template_too(tiny, listed, then):
    model = tiny("llama")
    model.generation_config.eos_token_id = listed
    for _ in range(2):
        models.stops_at(model, type("Tokenizer", (), {"eos_token_id": 1}), 7)
        assert model.generation_config.eos_token_id == then
    models.stops_at(model, type("Tokenizer", (), {"eos_token_id": 1}), 1)
    models.stops_at(model, type("Tokenizer", (), {"eos_token_id": 1}), None)
    assert model.generation_config.eos_token_id == then


def test_a_configuration_is_ones_own_and_another_once_its_file_is(tiny, tmp_path):
    folder, seen = tmp_path / "model", []
    for size in (60, 61):
        tiny("llama").config.save_pretrained(folder)
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"vocab_size": 60', f'"vocab_size": {size}'))
        for _ in range(2):
            config = models.load_config(str(folder))
            seen.append(config.vocab_size)
            config.vocab_size = 0  # of this copy
    assert seen == [60, 60, 61, 61]
