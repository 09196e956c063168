"""The Python tool: programs of a model, run in the sandbox one call after the other, with what earlier calls defined.

Every call is a run of its own: what the calls before it did is done again, silently, in a fresh jail. So state lasts
through an episode, a run that was killed leaves nothing behind, and the same calls give the same answers: hashing is
fixed, `random` and numpy are seeded, addresses are masked. A call that hit a limit, or ended its process by itself, is
not done again.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from r1lab.environments.schema import Signature
from r1lab.errors import RecipeError
from r1lab_sandbox.box import Sandbox
from r1lab_sandbox.records import Limits, Outcome, Program

SIGNATURE = Signature(
    "python", "Run a Python program; what it prints is returned. Names last from one call to the next.",
    {"code": {"type": "string", "description": "the program"}}, ("code",),
)  # fmt: skip
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
"""`0x7f3a5c0d1e20` of `<object at 0x7f3a5c0d1e20>`; not `0xff`."""
MAX_ERROR_LINES = 6
LIMITS = {"call_seconds": "seconds", "episode_seconds": "seconds", "memory_mb": "memory_mb"}
"""Settings of environments that run programs, as limits of one."""
DRIVER = """
import io, json, random, sys, traceback
with open("calls.json") as _file:
    _calls = json.load(_file)
random.seed(_calls["seed"])
if any("numpy" in _code for _code in _calls["before"] + [_calls["code"]]):
    import numpy
    numpy.random.seed(_calls["seed"] % 2**32)
_names = {"__name__": "__main__", "__builtins__": __builtins__}
_shown, _errors = sys.stdout, sys.stderr
for _number, _code in enumerate(_calls["before"]):
    sys.stdout = sys.stderr = io.StringIO()
    try:
        exec(compile(_code, f"<call {_number + 1}>", "exec"), _names)
    except BaseException:
        pass
sys.stdout, sys.stderr = _shown, _errors
_number = len(_calls["before"]) + 1
try:
    exec(compile(_calls["code"], f"<call {_number}>", "exec"), _names)
except SystemExit as _error:
    sys.stdout.flush()
    raise
except BaseException as _error:
    sys.stdout.flush()
    _frames = [each for each in traceback.extract_tb(_error.__traceback__) if each.filename.startswith("<call")]
    _lines = [f"line {each.lineno}, in {each.name}" for each in _frames[-3:]]
    print("\\n".join([*_lines, *traceback.format_exception_only(_error)]).rstrip(), file=sys.stderr)
    sys.exit(1)
finally:
    print("\\0end", file=_errors, flush=True)
"""
END = b"\0end\n"
"""What the driver says last: without it the process ended inside the program, which would end the next call too."""


def check_limits(settings: Mapping[str, Any], what: str) -> None:
    """RecipeError for settings of an environment that are no limits of a program."""
    for name in settings.keys() & LIMITS.keys():
        try:
            if settings[name] is None:
                raise ValueError(f"limit {LIMITS[name]} None: give a number above 0")
            Limits(**{LIMITS[name]: settings[name]})
        except ValueError as error:
            told = str(error).removeprefix("limit ").replace("seconds", name, 1)
            raise RecipeError(f"{what}.{told}") from None


class PythonTool:
    """What one episode's programs have done so far."""

    def __init__(self, sandbox: Sandbox, seed: int, limits: Limits, max_seconds: float):
        """max_seconds: wall clock of all calls of the episode together."""
        self.sandbox, self.seed, self.limits, self.left = sandbox, seed % 2**32, limits, max_seconds
        self.before: list[str] = []

    def run(self, code: str) -> tuple[str, str]:
        """What the program printed or how it failed, and its status: `ok`, `failed`, or the limit that was hit."""
        if self.left <= 0:
            return "error: the time for programs is used up", "timeout"
        calls = json.dumps({"seed": self.seed, "before": self.before, "code": code})
        outcome = self.sandbox.run(Program(DRIVER, files={"calls.json": calls}), self.limits)
        self.left -= outcome.wall_seconds
        has_ended = END in outcome.stderr
        if has_ended and not outcome.is_limit and outcome.status != "killed":
            self.before.append(code)
        is_cut_short = outcome.status == "ok" and not has_ended
        return _text(outcome, is_cut_short), "failed" if is_cut_short else outcome.status


def _text(outcome: Outcome, is_cut_short: bool) -> str:
    printed = outcome.stdout.decode("utf-8", "replace")
    told = [printed.rstrip("\n")] if printed.strip() else []
    if outcome.is_limit:
        told.append("error: too slow" if outcome.status == "timeout" else f"error: over its {outcome.status} limit")
    elif outcome.status == "killed":
        told.append(f"error: killed by signal {outcome.signal}")
    elif is_cut_short:
        told.append("error: the program ended its own process; what it defined is lost")
    elif outcome.status == "failed":
        lines = outcome.stderr.replace(END, b"").decode("utf-8", "replace").strip().splitlines()
        told.append("\n".join(lines[-MAX_ERROR_LINES:]) or f"error: exit code {outcome.exit_code}")
    return ADDRESS.sub("0x...", "\n".join(told)) or "(nothing was printed)"
