"""Where the tiny base model is that ships with the package. `make.py` made it from the text of `corpus.py`."""

from pathlib import Path

NAME = "r1lab-embedded-base"


def path() -> Path:
    """The shipped Hugging Face folder: config, float32 weights, tokenizer, chat template, model card."""
    return Path(__file__).parent / "base"
