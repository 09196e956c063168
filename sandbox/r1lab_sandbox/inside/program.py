"""What runs in the jail, after every wall is up: a program as a script, or its functions as a server of calls.

Nothing here is trusted afterwards: the program shares this process and may change every line of it. So nothing here
decides anything, and what is not to be known is not here.
"""

import _thread
import atexit
import builtins
import contextlib
import gc
import io
import itertools
import json
import marshal
import os
import socket
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from r1lab_sandbox.forkserver import frames
from r1lab_sandbox.inside import testing, values

REQUEST, LINE = 3, 4
MAX_MESSAGE_BYTES = 64 << 20
MAX_RECURSION = 400_000
"""Frames of Python, whatever a program asks for: past it an exception, before memory or the clock run out."""
FILE = "main.py"
LAZY = frozenset({types.GeneratorType, map, filter, zip, enumerate, reversed,
                  *(type(each) for each in (iter([]), {}.keys(), {}.values(), {}.items()))})  # fmt: skip
"""What has to be gone through here; the tests get an iterator over what came of it."""
MAX_ITEMS = 10_000
"""Of an iterator, which may have no end."""
STREAMS: list[io.TextIOWrapper] = []
"""The first ones, whatever a program put in their places."""
WRITERS = frozenset({io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom})


def run(has_line: bool) -> None:
    """Read the request, run it, end this process; `prepare` was called before. Never returns."""
    request = marshal.loads(_peek(REQUEST))
    os.close(REQUEST)
    line = socket.socket(fileno=LINE) if has_line else None
    for name, text in request["files"].items():
        with open(name, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    if "/dev/stdin" in request["source"]:
        with open(".stdin", "wb") as file:
            file.write(_peek(0))
    sys.argv = [FILE, *request["argv"]]
    code = 1
    try:
        code = {"script": _script, "serve": _serve, "tests": _tests}[request["kind"]](request, line)
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException as error:
        _complain(error)
    finally:
        _leave(code)


def _script(request: dict, line: None) -> int:
    """What it wrote to files that it did not close is written, as at an interpreter's end."""
    atexit.register(_flush_files)
    _execute(request["source"], "__main__")
    return 0


def _serve(request: dict, line: socket.socket) -> int:
    """Answer calls until the line closes; then end at once, whatever threads the program left."""
    module = _execute(request["source"], "solution")
    frames.send(line, json.dumps({"ready": True, "names": _named(module)}).encode())
    solutions = _Solutions(module)
    while (message := frames.receive(line, MAX_MESSAGE_BYTES)) is not None:
        frames.send(line, solutions.answer(json.loads(message)).encode())
    _flush()
    os._exit(0)


def _tests(request: dict, line: socket.socket) -> int:
    """Tests that ask for calls themselves: `r1lab_sandbox.inside.testing` gives them stand-ins for the other jail's
    functions."""
    results = testing.run_tests(request["source"], request["extra"], lambda message: _ask(line, message))
    frames.send(line, json.dumps({"done": results}).encode())
    frames.receive(line)
    _flush()
    os._exit(0)


def _ask(line: socket.socket, message: dict) -> dict:
    """A question and its answer."""
    frames.send(line, json.dumps(message).encode())
    answer = frames.receive(line, MAX_MESSAGE_BYTES)
    if answer is None:
        os._exit(1)
    return json.loads(answer)


class _Solutions:
    """The program's functions, called by name with plain values; objects it made stay here and have numbers."""

    def __init__(self, module: types.ModuleType):
        self.module = module
        self.objects: list[object] = []
        self.named = {"object": self.objects.__getitem__, "builtin": lambda name: getattr(builtins, name)}

    def answer(self, message: dict) -> str:
        nonce = message["nonce"]
        try:
            target = self.target(message)
            if message.get("get"):
                known = {"method": True} if callable(target) else {"value": values.encode(target)}
                return json.dumps({"nonce": nonce, **known})
            arguments = values.decode(message["args"], named=self.named)
            value = target(*arguments, **values.decode(message["kwargs"], named=self.named))
            if message.get("make") and isinstance(target, type):
                self.objects.append(value)
                return json.dumps({"nonce": nonce, "object": len(self.objects) - 1})
            if message.get("changes") and type(value) in LAZY:
                return json.dumps({"nonce": nonce, "iterator": values.encode(list(itertools.islice(value, MAX_ITEMS)))})
            changed = _or_none(arguments) if value is None and message.get("changes") else None
            return json.dumps({"nonce": nonce, "value": values.encode(value), "changed": changed})
        except values.NotPlain as error:
            return json.dumps({"nonce": nonce, "odd": str(error)})
        except BaseException as error:
            return json.dumps({"nonce": nonce, "raised": _describe(error), "kind": _kind(error)})

    def target(self, message: dict) -> Any:
        name = message["name"]
        if message.get("object") is not None:
            return getattr(self.objects[message["object"]], name)
        first, _, attribute = name.partition(".")
        if hasattr(self.module, first):
            found = getattr(self.module, first)
            return getattr(found, attribute) if attribute else found
        if hasattr(self.module, "Solution"):
            return getattr(self.module.Solution(), name)
        raise NameError(f"name {name!r} is not defined")


def _execute(source: str, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(__builtins__=__builtins__, __file__=FILE)
    sys.modules[name] = module
    exec(compile(source, FILE, "exec", dont_inherit=True), module.__dict__)
    return module


def _or_none(arguments: list) -> Any:
    """Arguments as they are after a call, where they cross the wall."""
    try:
        return values.encode(arguments)
    except values.NotPlain:
        return None


def _named(module: types.ModuleType) -> dict[str, str]:
    """Name: `class`, `exception`, `function`, `value` or `module <its name>`, of what stands at the program's top."""
    found = {}
    for name, value in list(module.__dict__.items()):
        if isinstance(value, types.ModuleType):
            found[name] = f"module {value.__name__}"
        elif isinstance(name, str) and not name.startswith("__"):
            is_error = isinstance(value, type) and issubclass(value, Exception)
            kind = "class" if isinstance(value, type) else "function" if callable(value) else "value"
            found[name] = "exception" if is_error else kind
    return found


def prepare() -> None:
    """What every run needs, made before there is one: streams on descriptors 0, 1 and 2, a bounded recursion limit."""
    sys.setrecursionlimit = _bounded(sys.setrecursionlimit)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream: Any = open(number, mode, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
        STREAMS.append(stream)
    STREAMS[-1].reconfigure(line_buffering=True, errors="backslashreplace")


def _bounded(setrecursionlimit: Callable[[int], None]) -> Callable[[int], None]:
    return lambda limit: setrecursionlimit(min(limit, MAX_RECURSION))


def _peek(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _leave(code: int) -> None:
    """End as an interpreter does: threads joined, exit functions called, streams flushed."""
    try:
        if _thread._count():
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as error:
        _complain(error)
    if not _flush() and code == 0:
        code = 120
    os._exit(code)


def _flush() -> bool:
    is_well = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            is_well = False
    return is_well


def _flush_files() -> None:
    _flush()
    for each in (*STREAMS, *gc.get_objects()):
        if type(each) in WRITERS:
            with contextlib.suppress(Exception):
                each.flush()


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    with contextlib.suppress(BaseException):
        sys.stderr.write(f"{code}\n")
    return 1


def _complain(error: BaseException) -> None:
    """The traceback, from the program's first frame on."""
    with contextlib.suppress(BaseException):
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
            trace = trace.tb_next
        sys.__excepthook__(type(error), error.with_traceback(trace), trace)


def _describe(error: BaseException) -> str:
    try:
        return f"{_kind(error)}: {error}"[:400]
    except BaseException:
        return _kind(error)


def _kind(error: BaseException) -> str:
    return str(type(error).__name__)[:100]
