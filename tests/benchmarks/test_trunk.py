"""The benchmark of the trunk forwards the same samples in every way."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def trunk(monkeypatch):
    """The script as a module, with a small model; its folder comes first on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "trunk", raising=False)
    import trunk

    small = {"hidden_size": 36, "intermediate_size": 48, "vocab_size": 50}
    monkeypatch.setattr(trunk, "SHAPE", trunk.SHAPE | small)
    return trunk


def test_all_ways_have_the_same_gradients_and_packed_forwards_each_prompt_once(trunk):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=1, **trunk.SHAPE)).eval()
    samples = trunk.samples_of(2, 3, 5)
    ways = trunk.paths(samples, 3, 10**6)
    lengths = [len(sample.rollout.completion_ids) for sample in samples]
    assert (
        {name: sum(batch.input_ids.numel() for batch in batches) for name, batches in ways.items()}
        == {
            "packed": 2 * 5 + sum(lengths) - 6,  # no completion's last token
            "padded": 3 * (2 * 5 + max(lengths[:3]) + max(lengths[3:])),
            "sorted": 6 * (5 + max(lengths)),
        }
    )
    found = [trunk.gradients(model, trunk.learner(model, batches)) for batches in ways.values()]
    assert all((each - found[1]).norm() <= 1e-5 * found[1].norm() for each in found)
