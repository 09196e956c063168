"""The guard on our four import names. Not a doctor: it says whose files would be imported instead of ours.

A distribution called `verifiers` exists, and any folder named `data` can come first on the path. Nothing here imports
what it looks at.
"""

import importlib.metadata
import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

from r1lab.errors import RecipeError

OURS = ("r1lab", "verifiers", "sandbox", "data")
ROOT = Path(__file__).resolve().parent.parent


def check() -> list[str]:
    """One line for each name that is not ours alone: the culprit's path, its distribution and the remedy."""
    problems = [problem for name in OURS if (problem := _elsewhere(name))]
    return problems or _overwritten()


def require() -> None:
    """RecipeError with the first problem."""
    for problem in check():
        raise RecipeError(problem)


def _elsewhere(name: str) -> str | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return f"import name {name!r} is not found, it should be {ROOT / name}; reinstall r1lab"
    culprit = next((path for path in _places(spec) if path != ROOT / name), None)
    if culprit is None:
        return None
    owner = _owner(name, culprit)
    remedy = f"run `pip uninstall {owner}`" if owner else "move it away, or set PYTHONSAFEPATH=1 and check PYTHONPATH"
    belongs = f" of the distribution {owner!r}" if owner else ""
    return f"import name {name!r} is {culprit}{belongs}, not r1lab's {ROOT / name}; {remedy}"


def _places(spec: ModuleSpec) -> list[Path]:
    """Folders of a package (several, where it has no `__init__`), or the file of a module."""
    found = [*spec.submodule_search_locations] if spec.submodule_search_locations else [spec.origin or ""]
    return [Path(place).resolve() for place in found]


def _owner(name: str, place: Path) -> str | None:
    """The distribution other than ours that put `name` there, if any."""
    for owner in importlib.metadata.packages_distributions().get(name, ()):
        installed = importlib.metadata.distribution(owner).locate_file(name)
        if owner != "r1lab" and Path(str(installed)).resolve() in (place, place.with_suffix("")):
            return owner
    return None


def _overwritten() -> list[str]:
    """Two wheels in one site-packages write into one folder, so the path looks right and the files may not be."""
    if not any(ROOT.glob("r1lab-*.dist-info")):
        return []
    owners = ((name, _owner(name, ROOT / name)) for name in OURS)
    return [
        f"import name {name!r}: the distribution {owner!r} writes into r1lab's {ROOT / name}; "
        f"run `pip uninstall {owner}` and reinstall r1lab"
        for name, owner in owners
        if owner
    ]
