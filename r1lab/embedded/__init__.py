"""Where the tiny base model is that ships with the package. `make.py` made it from the text of `corpus.py`; `deep.py`
makes a deeper one of it."""

from pathlib import Path

NAME = "r1lab-embedded-base"
MODELS = ("embedded", "embedded-deep")
"""Names that a recipe's `model:` knows without a folder or a hub."""


def path(name: str = "embedded") -> Path:
    """The Hugging Face folder of one of MODELS: config, float32 weights, tokenizer, chat template."""
    base = Path(__file__).parent / "base"
    if name == "embedded":
        return base
    from r1lab.embedded import deep

    return deep.path(base)
