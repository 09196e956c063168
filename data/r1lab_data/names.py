"""Names that were probably meant: the nearest of those known, of datasets that are published, of files beside a place,
of what a module holds. Not other tables of names."""

import difflib
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MOST_FILES = 2_000
"""Of a folder that are looked at."""
_QWEN = "https://raw.githubusercontent.com/QwenLM/Qwen2.5-Math/main/evaluation/data"
PUBLISHED_SETS = {
    "gsm8k": "openai/gsm8k", "math500": "HuggingFaceH4/MATH-500", "aime24": "HuggingFaceH4/aime_2024",
    "amc23": "math-ai/amc23", "minerva": f"{_QWEN}/minerva_math/test.jsonl",
    "olympiadbench": f"{_QWEN}/olympiadbench/test.jsonl", "svamp": f"{_QWEN}/svamp/test.jsonl",
    "asdiv": f"{_QWEN}/asdiv/test.jsonl", "mawps": f"{_QWEN}/mawps/singleop.jsonl",
    "mawps_addsub": f"{_QWEN}/mawps/addsub.jsonl", "mawps_singleeq": f"{_QWEN}/mawps/singleeq.jsonl",
    "mawps_multiarith": f"{_QWEN}/mawps/multiarith.jsonl", "humaneval": "openai/openai_humaneval",
    "mbpp": "google-research-datasets/mbpp",
}  # fmt: skip
"""Where sets that people call by a short name are: a hub id or a file. Those that the hub holds in other rows than
papers report are taken from the usual evaluation files."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant: of those alike, one of the same letters, else of the same first letter; small
    and capital letters are the same."""
    plain = name.casefold()

    def slip(candidate: str) -> tuple[bool, bool, float]:
        folded = candidate.casefold()
        likeness = difflib.SequenceMatcher(None, folded, plain).ratio()
        return sorted(folded) != sorted(plain), folded[:1] != plain[:1], -likeness

    listed = list(dict.fromkeys(names))
    alike = difflib.get_close_matches(plain, [each.casefold() for each in listed], n=max(1, len(listed)))
    return min((candidate for candidate in listed if candidate.casefold() in alike), key=slip, default=None)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'question'?`, or nothing."""
    close = nearest(name, names)
    return f"; did you mean {close!r}?" if close else ""


def published_hint(path: str) -> str:
    """The same of a dataset that is nowhere: where the set of about this name is published, and its short name."""
    of_place = {place.rpartition("/")[2]: name for name, place in PUBLISHED_SETS.items() if place.count("/") == 1}
    by_name = {_letters(name): short for name, short in ({name: name for name in PUBLISHED_SETS} | of_place).items()}
    alike = difflib.get_close_matches(_letters(path.rstrip("/").rpartition("/")[2]), by_name, n=1, cutoff=0.8)
    short = by_name[alike[0]] if alike else ""
    if not short or PUBLISHED_SETS[short] == path:
        return ""
    return f"; did you mean {PUBLISHED_SETS[short]!r}? (r1lab eval --on {short} knows its columns)"


def _letters(name: str) -> str:
    """`math500` of `MATH-500`."""
    return "".join(each for each in name.casefold() if each.isalnum())


def nearest_first(name: str, names: Iterable[str]) -> list[str]:
    """The names, the one that was probably meant first."""
    listed = list(names)
    close = nearest(name, listed)
    return [close, *(each for each in listed if each != close)] if close else listed


def file_hint(path: str, starts: Iterable[Path]) -> str:
    """The same of a file or folder that is nowhere below `starts`: what stands there under nearly its name."""
    wanted = Path(path).expanduser()
    for start in starts:
        place = Path(wanted.anchor) if wanted.is_absolute() else start
        is_other = False
        for part in wanted.relative_to(wanted.anchor).parts:
            close = place / part if (place / part).exists() else _beside(place / part)
            if close is None:
                break
            place, is_other = close, is_other or close != place / part
        if is_other:
            return f"; did you mean {str(place if wanted.is_absolute() else place.relative_to(start))!r}?"
    return ""


def _beside(missing: Path) -> Path | None:
    """What stands in the folder under nearly the name; the end of a name, `.jsonl`, makes none alike."""
    try:
        names = sorted(each.name for each in islice(missing.parent.iterdir(), MOST_FILES) if each.name[:1] != ".")
    except OSError:
        return None
    by_stem: dict[str, str] = {}
    for name in sorted(names, key=lambda name: Path(name).suffix != missing.suffix):
        by_stem.setdefault(name.partition(".")[0], name)
    close = nearest(missing.name.partition(".")[0], by_stem)
    return missing.with_name(by_stem[close]) if close else None


def import_hint(path: str) -> str:
    """The same of `module:name` that does not import: a name of the module, or a module of a user's folders."""
    module, _, name = path.partition(":")
    loaded = sys.modules.get(module)
    if loaded is not None:
        public = [each for each in vars(loaded) if not each.startswith("_")]
        own = [each for each in public if getattr(vars(loaded)[each], "__module__", module) == module]
        return "" if name.partition(".")[0] in public else did_you_mean(name.partition(".")[0], own or public)
    # "/home/me/project", ""; not "/usr/lib/python3.11", "/venv/lib/python3.11/site-packages"
    folders = {Path(each or ".") for each in sys.path if "python3" not in each}
    stems = sorted({file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.py")})
    return "" if module.partition(".")[0] in stems else did_you_mean(module.partition(".")[0], stems)
