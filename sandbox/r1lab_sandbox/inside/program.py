"""What runs in the jail, after every wall is up: a program as a script, or its functions as a server of calls.

Nothing here is trusted afterwards: the program shares this process and may change every line of it. So nothing here
decides anything, and what is not to be known is not here.
"""

import _thread
import atexit
import contextlib
import gc
import io
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
from r1lab_sandbox.inside import calls, header_names, testing, values

REQUEST, LINE = 3, 4
MAX_MESSAGE_BYTES = 64 << 20
MAX_RECURSION = 400_000
"""Frames of Python, whatever a program asks for: past it an exception, before memory or the clock run out."""
FILE = "main.py"
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
    _execute(request, "__main__", set())
    return 0


def _serve(request: dict, line: socket.socket) -> int:
    """Answer calls until the line closes; then end at once, whatever threads the program left."""
    given: set[str] = set()
    module = _execute(request, "solution", given)
    frames.send(line, json.dumps({"ready": True, "names": _named(module)}).encode())

    def receive() -> dict | None:
        message = frames.receive(line, MAX_MESSAGE_BYTES)
        return None if message is None else json.loads(message)

    answers = calls.Calls(module, given, lambda reply: frames.send(line, reply), receive)
    while (message := receive()) is not None:
        frames.send(line, answers.answer(message))
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
    try:
        reply = values.tree(answer)
    except values.NotPlain as error:
        return {"odd": str(error)}
    return reply if isinstance(reply, dict) else {}


def _execute(request: dict, name: str, given: set[str]) -> types.ModuleType:
    """Run the program as a module. given: gets the names that it found defined."""
    module = types.ModuleType(name)
    module.__dict__.update(__builtins__=__builtins__, __file__=FILE)
    sys.modules[name] = module
    code = compile(request["source"], FILE, "exec", dont_inherit=True)
    if request["extra"].get("has_header"):
        found = header_names.used(code)
        given.update(found)
        module.__dict__.update(found)
    exec(code, module.__dict__)
    return module


def _named(module: types.ModuleType) -> dict[str, str]:
    """Name: `class`, `function`, `value`, `module`, or an exception's bases, of what stands at the program's top."""
    found = {}
    for name, value in list(module.__dict__.items()):
        if isinstance(value, types.ModuleType):
            found[name] = "module"
        elif isinstance(name, str) and not name.startswith("__"):
            found[name] = "class" if isinstance(value, type) else "function" if callable(value) else "value"
            if isinstance(value, type) and issubclass(value, Exception):
                found[name] = " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in value.__mro__[1:-1])
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
    """Whether what was written is out; as at an interpreter's end, a stream that was closed or taken away is."""
    is_well = True
    streams = (getattr(sys, "stdout", None), getattr(sys, "stderr", None), *STREAMS[1:])
    for stream in {id(each): each for each in streams}.values():
        try:
            if stream is not None and not getattr(stream, "closed", False):
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
