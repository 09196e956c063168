"""Rows of a benchmark: figures beside their limits, printed, written, turned into an exit code. Measures nothing."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (
    getattr(find_spec("r1lab"), "origin", None) is None
):  # a tree that is not installed, as on the bare image of a GPU machine
    sys.path += [str(ROOT), *(str(ROOT / name) for name in ("verifiers", "sandbox", "data"))]


def row(name: str, value: float | None, sense: str, limit: float | None, **more: object) -> dict:
    """A row; one without a value was not run, and then a limit does not hold."""
    holds = limit is None or (value is not None and (value >= limit if sense == ">=" else value <= limit))
    return {"name": name, "value": value, "sense": sense, "limit": limit, "holds": holds, **more}


def line(result: dict, width: int = 28) -> str:
    """One row for people."""
    value = "not run" if result["value"] is None else f"{result['value']:.5g}"
    limit = "" if result["limit"] is None else f"{result['sense']} {result['limit']:g}"
    return f"{result['name']:<{width}} {value:>10}  {limit:<9} {'' if result['holds'] else 'MISSED'}".rstrip()


def finish(rows: Sequence[dict], file: Path | None) -> int:
    """Write the rows where a file is given; the exit code: 1 where a limit is missed."""
    if file:
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(each["holds"] for each in rows) else 1


def cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((each.partition(": ")[2] for each in lines if each.startswith("model name")), platform.machine())


def _version(distribution: str) -> str | None:
    """None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def machine(packages: Sequence[str]) -> dict:
    """What the figures were taken on, and with which versions of what is installed."""
    return {
        "machine": {"cpu": cpu(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        "versions": dict(filter(all, ((name, _version(name)) for name in packages))),
    }
