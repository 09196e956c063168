"""A deeper model of the embedded one's architecture, `model: embedded-deep`: a teacher before it is taught.

Every layer is followed by a copy whose last matrices are 0, which adds nothing (block expansion, arXiv 2401.02415): the
model computes what the embedded one does until it is trained, with twice the layers. It is made of the shipped weights
where it is first named, without torch; nothing is downloaded.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

WEIGHTS = "model.safetensors"
LAST_MATRICES = ("self_attn.o_proj.weight", "mlp.down_proj.weight")
"""Of a layer: what it adds to the residual stream comes through them."""


def path(base: Path) -> Path:
    """The Hugging Face folder, in the user's cache; where that cannot be written, in the temporary folder."""
    version = hashlib.blake2b((base / WEIGHTS).read_bytes() + Path(__file__).read_bytes(), digest_size=6).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = [parent / "r1lab" / f"embedded-deep-{version}" for parent in (cache, Path(tempfile.gettempdir()))]
    made = next((folder for folder in folders if (folder / WEIGHTS).is_file()), None)
    return made or _made(base, folders)


def _made(base: Path, folders: list[Path]) -> Path:
    for folder in folders:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            half = Path(tempfile.mkdtemp(dir=folder.parent))
        except OSError:
            if folder == folders[-1]:
                raise
            continue
        make(base, half)
        try:
            half.rename(folder)  # whole or not there; another process may have been first
        except OSError:
            shutil.rmtree(half)
        return folder
    raise AssertionError("the last folder returns or raises")


def make(base: Path, out: Path) -> None:
    """Write the folder `out` from the folder `base`."""
    from safetensors.numpy import load_file, save_file

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    weights = load_file(base / WEIGHTS)
    deeper = {name: weight for name, weight in weights.items() if not name.startswith("model.layers.")}
    for name, weight in weights.items():
        if name.startswith("model.layers."):
            number, _, rest = name.removeprefix("model.layers.").partition(".")
            deeper[f"model.layers.{2 * int(number)}.{rest}"] = weight
            deeper[f"model.layers.{2 * int(number) + 1}.{rest}"] = weight * (rest not in LAST_MATRICES)
    shutil.copytree(base, out, dirs_exist_ok=True)
    (out / "README.md").unlink(missing_ok=True)  # the card is that of the base
    save_file(deeper, out / WEIGHTS, metadata={"format": "pt"})
    config["num_hidden_layers"] *= 2
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    out.chmod(0o755)
