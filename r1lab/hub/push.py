"""Upload a finished model's folder to the hub, through huggingface_hub. Nothing else of a run leaves this machine."""

import json
from pathlib import Path

from huggingface_hub import HfApi, get_token

# The error of whichever HTTP client this version of the hub's package has.
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError  # pyright: ignore[reportPrivateImportUsage]
from huggingface_hub.utils import validate_repo_id

from r1lab.errors import RecipeError, RunError
from r1lab.policy.location import refuse_code
from r1lab.run.files import STATE

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
HIDDEN = [".*", "**/.*"]
"""Names that are not uploaded, nor what is in folders of such names."""


def push(
    path: Path,
    repo_id: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    api: HfApi | None = None,
) -> list[str]:
    """Upload the model of a run, or a model's folder; lines for people, the last one the URL it has there.

    Code in the folder goes along only with `trust_remote_code`. With `dry_run` they are the files and their bytes, and
    the hub is not asked. RecipeError for a user's mistake, before anything is sent; RunError where the hub cannot be
    reached or refuses.
    """
    folder = _model_folder(path)
    if not trust_remote_code:
        refuse_code(str(folder), "push")
    _check_repo(repo_id)
    if dry_run:
        sizes = {str(file.relative_to(folder)): file.stat().st_size for file in _files(folder)}
        place = f"{repo_id}, private" if private else repo_id
        total = f"{sum(sizes.values()):>14,}  bytes in {len(sizes)} files for {place}; nothing was sent"
        return [*(f"{size:>14,}  {name}" for name, size in sizes.items()), total]
    if api is None and get_token() is None:
        raise RecipeError("push: no token for the hub; run `hf auth login`, or set HF_TOKEN")
    api = api or HfApi()
    try:
        url = api.create_repo(repo_id, private=private or None, exist_ok=True)
        if private and not api.repo_info(repo_id).private:
            raise RecipeError(
                f"push: {repo_id} is there and public; make it private on the hub, or leave --private out"
            )
        message = "Upload a model and its card with r1lab"
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message, ignore_patterns=HIDDEN)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise RecipeError(
                f"push: the hub refuses the token for {repo_id} ({status}); run `hf auth login`"
            ) from None
        raise RunError(f"push: {repo_id}: {_line(error)}") from None
    except (HTTPError, OSError, RuntimeError) as error:  # no connection, HF_HUB_OFFLINE, a file that cannot be read
        raise RunError(f"push: {repo_id} was not uploaded: {_line(error)}; try again") from None
    return [str(url)]


def _files(folder: Path) -> list[Path]:
    """What is uploaded of a folder, in order. RecipeError for a link that leads out of it."""
    found = [file for file in sorted(folder.rglob("*")) if file.is_file() or file.is_symlink()]
    shown = [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    for file in shown:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise RecipeError(
                f"push: {file} is a link to {file.resolve()}; only what is in the folder goes, copy it in"
            )
    return shown


def _check_repo(repo_id: str) -> None:
    """RecipeError for what is no org/name."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        repo_id, whole = repr(repo_id), False
    else:
        whole = repo_id.count("/") == 1
    if not whole:
        raise RecipeError(f"push: {repo_id} is no repository; give org/name of letters, digits, '-', '_' and '.'")


def _model_folder(path: Path) -> Path:
    """The folder of a run's model, or `path` itself. RecipeError where it is not finished or not whole."""
    is_run = (path / "manifest.json").is_file()
    folder, run = (path / "model", path) if is_run else (path, path.resolve().parent)
    if (run / "manifest.json").is_file() and folder.name == "model" and not _finished(run):
        raise RecipeError(f"push: {run} is not finished; run its recipe to the end first")
    if not folder.is_dir():
        raise RecipeError(f"push: {folder} is no folder; give a run or the folder of a model")
    names = {entry.name for entry in folder.iterdir()}
    if STATE in names:
        raise RecipeError(f"push: {folder} is a checkpoint, with its optimizer; give a run or the folder of a model")
    if "config.json" not in names:
        raise RecipeError(f"push: {folder} has no config.json; give a run or a Hugging Face folder")
    missing = _shards(folder) - names
    if missing or not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise RecipeError(
            f"push: {folder} lacks weights ({', '.join(sorted(missing)[:3]) or '*.safetensors or *.bin'})"
        )
    if not names & set(TOKENIZERS):
        raise RecipeError(f"push: {folder} has no tokenizer (tokenizer.json or another); save one beside the weights")
    _files(folder)
    return folder


def _finished(run: Path) -> bool:
    try:
        return bool(json.loads((run / "manifest.json").read_text(encoding="utf-8"))["finished"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RecipeError(f"push: {run / 'manifest.json'} cannot be read ({error})") from None


def _shards(folder: Path) -> set[str]:
    """Files that the weights' index counts on."""
    shards: set[str] = set()
    for index in folder.glob("*.index.json"):
        try:
            shards |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, LookupError, AttributeError) as error:
            raise RecipeError(f"push: {index} cannot be read ({error})") from None
    return shards


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
