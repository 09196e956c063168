"""Where a model is: from its name in a recipe or on a command line to a folder or a hub id. Loads nothing
(`r1lab.policy.models`)."""

import json
import os
from contextlib import suppress
from pathlib import Path

from r1lab import embedded
from r1lab.errors import RecipeError
from r1lab_data.names import did_you_mean, file_hint

PUBLISHED = (
    "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-360M", "HuggingFaceTB/SmolLM2-1.7B", "Qwen/Qwen2.5-0.5B",
    "Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-32B", "Qwen/Qwen2.5-Math-1.5B",
    "Qwen/Qwen2.5-Math-7B",
)  # fmt: skip
"""Hub ids of base models that recipes here name; for suggestions alone."""
_VOUCHED: list[bool] = []


def trust_remote_code() -> None:
    """From now on code that models bring along runs in this process: who reads `trust_remote_code: true` says so."""
    _VOUCHED.append(True)


def is_remote_code_trusted() -> bool:
    """Whether somebody has said so; what asks transformers for a model hands this on, so that it never asks back."""
    return bool(_VOUCHED)


def code_of(location: str) -> list[str]:
    """Files of code that a model's folder wants run, as its configurations name them; none of a hub id."""
    found = set()
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        with suppress(OSError, ValueError, AttributeError):
            classes = json.loads((Path(location) / name).read_text(encoding="utf-8")).get("auto_map", {}).values()
            for each in classes:
                # "modeling_x.XModel", ["tokenization_x.XTokenizer", null], "org/name--modeling_x.XModel"
                listed = each if isinstance(each, list) else [each]
                found |= {str(path).rpartition("--")[2].rpartition(".")[0] + ".py" for path in listed if path}
    return sorted(found)


def refuse_code(location: str, what: str) -> None:
    """RecipeError where a model's folder holds code that whoever loads it may run: Python files, or a configuration
    that names some. For who hands a model on without loading it here; of a hub id nothing is known."""
    folder = Path(location)
    shown = [path.relative_to(folder) for path in folder.rglob("*.py")] if folder.is_dir() else []
    found = {str(path) for path in shown if not any(part.startswith(".") for part in path.parts)}
    if files := sorted(found.union(code_of(location))):
        raise RecipeError(
            f"{what}: {location} brings code of its own ({', '.join(files[:3])}{', ...' * (len(files) > 3)}), which "
            "whoever loads the model may run; if you have read it and trust it, give --trust-remote-code"
        )


def locate(name: str, base: Path | None = None) -> str:
    """The folder or hub id behind a recipe's `model`; of a run's folder its last model. RecipeError for a folder that
    is neither."""
    if name in embedded.MODELS:
        return str(embedded.path(name))
    for folder in (Path(name), (base or Path.cwd()) / name):
        if folder.is_dir():
            return str(_of_folder(folder, name))
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise RecipeError(
            f"model: {name!r} is neither 'embedded', nor a folder (of a model or a run), nor a hub id such as org/name"
            f"{model_hint(name, base)}"
        )
    return name


def model_hint(name: str, base: Path | None = None) -> str:
    """`; did you mean ...?` of a model that is nowhere: a folder beside it, a model of the cache, a published one."""
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub")
    # "models--Qwen--Qwen2.5-0.5B"; not "datasets--openai--gsm8k"
    cached = [file.name.split("--", 1)[1].replace("--", "/") for file in hub.expanduser().glob("models--*--*")]
    return did_you_mean(name, [*embedded.MODELS, *cached, *PUBLISHED]) or file_hint(
        name, [base or Path.cwd(), Path.cwd()]
    )


def _of_folder(folder: Path, name: str) -> Path:
    if (folder / "config.json").is_file():
        return folder
    try:
        stages = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["recipe"]["stages"]
        trained = [folder / "stages" / stage["name"] / "model" for stage in reversed(stages)]
    except (OSError, ValueError, LookupError, TypeError):
        raise RecipeError(
            f"model: {name!r} is no Hugging Face folder, for it has no config.json, and no run's, for it has no "
            "manifest.json"
        ) from None
    for model in (folder / "model", *trained):
        if (model / "config.json").is_file():
            return model
    raise RecipeError(f"model: {name!r} is a run that has no model yet; it has one once a stage of it has ended")
