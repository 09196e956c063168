"""What vLLM is started with for an adapter, and its products on a CPU, without vLLM: by hand."""

from types import SimpleNamespace

import pytest
import torch

from r1lab.engines import factory
from r1lab.engines.vllm import lora
from r1lab.errors import RecipeError
from r1lab.policy.lora import Adapter
from r1lab.recipe import EngineConfig, LoraConfig

LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj")


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (2, 8), (8, 8), (9, 16), (65, 128), (300, 320), (512, 512)])
def test_room_is_made_for_the_smallest_rank_that_fits_beside_these_layers_alone(rank, room):
    found = lora.options(Adapter(rank, 32.0, LAYERS))
    assert (found["max_lora_rank"], found["max_loras"]) == (room, 1)
    assert found["lora_target_modules"] == ["down_proj", "q_proj"]


def test_a_rank_that_vllm_has_no_room_for_is_refused_before_anything_else():
    said = r"lora.rank: 513 is more than 512, the most that vLLM takes; lower it, or take engine.kind: local"
    with pytest.raises(RecipeError, match=said):
        factory.check(EngineConfig(kind="vllm"), None, LoraConfig(rank=513))
    assert factory.check(EngineConfig(kind="local"), None, LoraConfig(rank=513)) is None
    assert lora.too_wide(LoraConfig(rank=512)) is None and lora.too_wide(None) is None


def test_the_products_are_those_of_the_two_matrices():
    wrapper = SimpleNamespace(no_lora=False)
    cpu = torch.device("cpu")
    manager = SimpleNamespace(
        device=cpu, _adapter_manager=SimpleNamespace(punica_wrapper_mapping={"language_model": wrapper})
    )
    lora.multiply_plainly(manager)
    hidden, low, out = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.full((2, 1), 9.0), torch.ones(2, 4)
    a, b = torch.tensor([[[[1.0, 10.0]]]]), torch.tensor([[[[2.0], [3.0]]]])  # [adapter, 1, rank, in], [.., out, rank]
    wrapper._apply_shrink(low, hidden, a, 1.0)
    assert low.tolist() == [[21.0], [43.0]]  # 1 + 20, 3 + 40
    wrapper._apply_expand(out, low, b, 1, 2, add_inputs=True)
    assert out.tolist() == [[1, 43, 64, 1], [1, 87, 130, 1]]  # 1 + 2 x 21, 1 + 3 x 21
    wrapper.no_lora = True
    wrapper._apply_expand(out, low, b, 1, 2)
    assert out[0].tolist() == [1, 43, 64, 1]
