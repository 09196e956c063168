"""A folder that is written part after part is the folder that transformers writes of the whole."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from r1lab import embedded
from r1lab.errors import RunError
from r1lab.policy import classifier, models, portable
from r1lab.run import checkpoint


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make(kind, tiny_model):
    if kind == "tied":
        return models.load_model(str(embedded.path()))
    if kind == "bfloat16":
        return models.load_model(str(tiny_model), torch.bfloat16)
    if kind == "two types":
        model = models.load_model(str(tiny_model), torch.bfloat16)
        model.model.norm.float()
        return model
    if kind == "classifier":
        return classifier.load_classifier(str(tiny_model))
    if kind == "experts":
        shapes = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
                  "num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}  # fmt: skip
        return AutoModelForCausalLM.from_config(AutoConfig.for_model("mixtral", **shapes))
    return models.load_model(str(tiny_model))


@pytest.mark.parametrize("kind", ["untied", "tied", "bfloat16", "two types", "classifier", "experts"])
def test_the_bytes_are_those_of_the_whole(kind, tiny_model, tmp_path):
    model = make(kind, tiny_model)
    model.save_pretrained(tmp_path / "whole")
    portable.save_parts(model, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_several_files_are_cut_and_listed_as_transformers_does(tiny_model, tmp_path, monkeypatch):
    model = models.load_model(str(tiny_model))
    model.save_pretrained(tmp_path / "whole", max_shard_size="60KB")
    monkeypatch.setattr(portable, "MOST_OF_A_FILE", "60KB")
    portable.save_parts(model, tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert len(models.weight_files(str(tmp_path / "parts"))) > 2


def test_a_write_that_fails_ends_in_its_line_and_leaves_nothing(tiny_model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(portable, "_append", fail)
    model = models.load_model(str(tiny_model))
    with pytest.raises(RunError, match=r"disk full while writing .*best"):
        checkpoint.save_model(tmp_path / "best", lambda folder: portable.save_parts(model, folder))
    assert list(tmp_path.iterdir()) == []
