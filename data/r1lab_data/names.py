"""Names that were probably meant: the nearest of those known, of files beside a place, of what a module holds. Not the
tables of names."""

import difflib
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MOST_FILES = 2_000
"""Of a folder that are looked at."""


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
