import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "experiments": {"r1lab", "verifiers", "sandbox", "data"},
    "r1lab": {"verifiers", "sandbox", "data"},
    "verifiers": {"sandbox", "data"},
    "sandbox": set(),
    "data": set(),
}
DISTRIBUTED = ("accelerate", "torch.distributed")
ALLOWED = {
    "r1lab/policy/policy.py": DISTRIBUTED,
    "r1lab/distributed/ranks.py": DISTRIBUTED,
    "r1lab/distributed/sharding.py": ("torch.distributed",),
    "r1lab/run/trackers.py": ("accelerate.tracking",),
}
PARSED = {
    path: ast.parse(path.read_text(encoding="utf-8"), str(path))
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, module) of every absolute import, those inside functions too; `from a import b` counts as a.b."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def places(package: str | None = None):
    return [(path.relative_to(ROOT), tree) for path, tree in PARSED.items()
            if package is None or path.relative_to(ROOT).parts[0] == package]  # fmt: skip


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_dependencies_point_one_way(package):
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    wrong = [f"{path}:{line} imports {name}" for path, tree in places(package) for line, name in imports(tree)
             if name.split(".")[0] in forbidden]  # fmt: skip
    assert wrong == []


def test_only_policy_ranks_shards_and_trackers_know_of_processes():
    wrong = [
        f"{path}:{line} imports {name}" for path, tree in places() for line, name in imports(tree)
        if any(f"{name}.".startswith(f"{each}.") for each in DISTRIBUTED)
        and path.parts[0] != "experiments"
        and not any(f"{name}.".startswith(f"{each}.") for each in ALLOWED.get(path.as_posix(), ()))
    ]  # fmt: skip
    assert wrong == []


def test_the_verifier_pool_starts_without_the_heavy_libraries():
    if not (ROOT / "verifiers" / "pool.py").exists():
        pytest.skip("there is no verifiers/r1lab_verifiers/pool/pool.py yet")
    code = (
        "import sys, r1lab_verifiers.pool.pool; print({'torch', 'transformers', 'datasets'} & set(sys.modules) or '')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_no_module_is_longer_than_300_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in PARSED}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_no_function_is_longer_than_60_lines():
    functions = (
        (f"{path}:{node.name}", node.end_lineno - node.lineno + 1) for path, tree in places()
        for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )  # fmt: skip
    assert {name: length for name, length in functions if length > 60} == {}
