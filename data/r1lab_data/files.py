"""Where a dataset lies: a local file or folder, a URL, the Hugging Face hub. Not what a file holds (`r1lab_data.rows`).

A URL may hold a secret and its server may be anybody's: messages show it masked, and nothing of what the server sent.
What exists on disk wins over a hub id of the same name, as in `datasets.load_dataset`.
"""

import ipaddress
import os
import re
import ssl
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import httpx

from r1lab_data.names import file_hint, published_hint
from r1lab_data.problem import DataError
from r1lab_data.rows import READERS, Table, first_line, read_file, suffix

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
"""`openai/gsm8k`, `squad`; not `./data` or `a/b/c`."""
PROBE_SECONDS = 10
DOWNLOAD_SECONDS = 60
"""Longest silence of a server, not the length of a download."""
MAX_REDIRECTS = 5
MAX_DOWNLOAD_BYTES = 4 << 30
"""Of a file on the web; a larger one is given by a local path."""
# "https://me:key@host/a?token=x", "http://127.0.0.1:8000"; not "ftp://a", "https:"
WEB_ADDRESS = re.compile(r"(?P<start>https?://)(?:[^\s/?#'\"@]*@)?(?P<place>[^\s?#'\"]*)(?P<more>[?#][^\s'\"]*)?", re.I)


def read(path: str, *, split: str, config: str | None, base: Path | None, limit: int | None) -> Table:
    """The rows that `path` names; `base` is the folder that relative paths start from, before the current one."""
    if urlparse(path).scheme in ("http", "https"):
        return read_url(path, split=split, limit=limit)
    found = local(path, base)
    if found is not None and found.is_dir():
        return read_folder(found / config if config else found, path, split=split, limit=limit)
    if found is not None:
        check_suffix(found.name, path)
        return read_file(found, path, split=split, limit=limit)
    if suffix(path) or path.startswith((".", "/", "~")) or not HUB_ID.fullmatch(path):
        tried = [*map(str, starts(base)), "on the hub, whose ids are such as openai/gsm8k"]
        told = f"{path}: no such file or folder, neither in {' nor '.join(tried)}"
        raise DataError(told + file_hint(path, starts(base)))
    try:
        return read_hub(path, split=split, config=config, limit=limit)
    except DataError as error:
        raise DataError(f"{error}{file_hint(path, starts(base)) or published_hint(path)}") from error


def starts(base: Path | None) -> list[Path]:
    """The folders that relative paths start from, in the order they are tried."""
    return list(dict.fromkeys([*([base.resolve()] if base else []), Path.cwd()]))


def local(path: str, base: Path | None) -> Path | None:
    """The file or folder, if it exists."""
    candidates = (folder / Path(path).expanduser() for folder in starts(base))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def check_suffix(file: str, path: str) -> None:
    """A file whose format is not known by its name is refused."""
    if not suffix(file):
        raise DataError(f"{path}: a data file ends in one of {', '.join(READERS)}; rename or convert it")


def read_folder(folder: Path, path: str, *, split: str, limit: int | None) -> Table:
    """`<split>.<suffix>`, or the parquet shards that the hub stores (`[data/]<split>-00000-of-00002.parquet`)."""
    whole = [folder / f"{split}{known}" for known in READERS if (folder / f"{split}{known}").is_file()]
    shards = sorted([*folder.glob(f"{split}-*-of-*.parquet"), *folder.glob(f"data/{split}-*-of-*.parquet")])
    if len(whole) > 1:
        raise DataError(f"{path}: {' and '.join(file.name for file in whole)} are both split {split!r}; name one file")
    if not whole and not shards:
        held = sorted(file.name for file in folder.glob("*")) if folder.is_dir() else []
        holds = f"the folder {folder.name} holds {', '.join(held[:12]) or 'nothing'}"
        raise DataError(
            f"{path}: no split {split!r} ({split}.jsonl, .json, .parquet or .csv); {holds}; set split, or config"
        )
    parts = [read_file(file, f"{path}/{file.name}", split=split, limit=limit) for file in whole or shards]
    if len(parts) == 1:
        return parts[0]
    return Table(f"{path}/{split}", [row for part in parts for row in part.rows][:limit])


def masked(text: str) -> str:
    """A text whose web addresses have lost what may be a secret: user and password, query and fragment."""
    return WEB_ADDRESS.sub(lambda found: found["start"] + found["place"] + ("?..." if found["more"] else ""), text)


def without_secrets(value: Any) -> Any:
    """Plain data whose texts are masked."""
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def read_url(url: str, *, split: str, limit: int | None) -> Table:
    """A file on the web, read by the same readers as a local one, so that its copy gives the same problems."""
    shown, name = masked(url), Path(urlparse(url).path).name
    if not suffix(name):
        remedy = "a dataset's page on the hub is given by its id alone, such as openai/gsm8k"
        raise DataError(f"{shown}: a data URL ends in one of {', '.join(READERS)}; {remedy}")
    if not _is_safe(url):
        raise DataError(
            f"{shown}: a data URL begins with https:// (http:// only on this machine), or give a local path"
        )
    return read_file(download(url, name), shown, split=split, limit=limit)


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can read or change what comes."""
    parts = urlparse(url)
    if parts.scheme == "https":
        return True
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def download(url: str, name: str) -> Path:
    """The file in the Hugging Face cache, fetched anew; where the server cannot be reached an earlier copy serves."""
    cache = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "r1lab"
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"{blake2b(url.encode(), digest_size=8).hexdigest()}-{name}"
    part = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with part.open("wb") as stream:
            _fetch(url, stream)
        part.replace(file)
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        part.unlink(missing_ok=True)
        if isinstance(error, DataError):
            raise
        is_refused = isinstance(error, httpx.HTTPStatusError)
        if is_refused or not isinstance(error, (OSError, httpx.TransportError)) or not file.exists():
            told = f"HTTP Error {error.response.status_code}" if is_refused else masked(first_line(error))
            raise DataError(f"{masked(url)}: cannot be fetched: {told}; or give a local path") from None
    return file


def _fetch(url: str, stream: IO[bytes]) -> None:
    """The bytes behind a URL as the server stores them, after redirects within its host."""
    left = MAX_DOWNLOAD_BYTES
    with httpx.Client(timeout=DOWNLOAD_SECONDS, verify=ssl.create_default_context()) as client:
        request = client.build_request("GET", url, headers={"Accept-Encoding": "identity"})
        for _ in range(MAX_REDIRECTS):
            response = client.send(request, stream=True)
            if response.next_request is None:
                break
            response.close()
            request = _within_host(request, response.next_request)
        response.raise_for_status()
        for part in response.iter_raw():
            left -= len(part)
            if left < 0:
                most = f"{MAX_DOWNLOAD_BYTES / 2**30:g} GiB"
                raise DataError(f"{masked(url)}: larger than {most}, the most that is fetched; give a local path")
            stream.write(part)


def _within_host(request: httpx.Request, further: httpx.Request) -> httpx.Request:
    """The request that a redirect asks for. Another host than the one that was named is not asked, nor one that is not
    safe."""
    start, target = request.url, further.url
    if target.scheme not in ("http", "https"):
        raise DataError(f"{masked(str(start))}: leads to {target.scheme}://, which is no address on the web")
    if (start.host, start.port) != (target.host, target.port):
        host = (target.host or "nowhere")[:100]
        raise DataError(
            f"{masked(str(start))}: leads to another host, {host}, which is not asked; give the address that it leads "
            "to, or a dataset of the hub by its id"
        )
    if not _is_safe(str(target)):
        raise DataError(f"{masked(str(start))}: leads to an address without https")
    return further


def read_hub(path: str, *, split: str, config: str | None, limit: int | None) -> Table:
    """`datasets.load_dataset`; a hub that cannot be reached is noticed first, before the client's long retries."""
    import datasets.config
    import datasets.exceptions

    if not datasets.config.HF_HUB_OFFLINE:
        probe(path)
    try:
        table = datasets.load_dataset(path, config, split=split)
    except datasets.exceptions.DatasetNotFoundError as error:
        remedy = "check its name, or log in with `hf auth login` if it is private or gated"
        raise DataError(f"{path}: neither a local path nor a dataset on the hub; {remedy}") from error
    except ConnectionError as error:
        raise DataError(f"{path}: {first_line(error)}; give a local path, or load it once while online") from error
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{path}: {first_line(error)} (split {split!r}, config {config!r})") from error
    if len(table) == 0:
        raise DataError(f"{path}: split {split!r} has no rows; a dataset needs at least one")
    return Table(path, table.select(range(min(len(table), limit or len(table)))).to_list())


def probe(path: str) -> None:
    """Is the hub there? Any answer will do, also a refusal."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        httpx.head(hub, timeout=PROBE_SECONDS, verify=ssl.create_default_context())
    except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
        remedy = "give a local path, or set HF_HUB_OFFLINE=1 if the dataset is in the cache"
        raise DataError(
            f"{path}: not a local path, and the hub at {hub} cannot be reached ({error}); {remedy}"
        ) from error
