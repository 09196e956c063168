"""A file that appears whole or not at all, or stdout. Not a run's state (`r1lab.run.checkpoint`)."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from r1lab.errors import RecipeError, RunError


@contextmanager
def written(path: Path | None, option: str, *, but: Path | None = None) -> Iterator[BinaryIO]:
    """What is written in the block becomes `path` at its end; where the block raises nothing is left. None: stdout.

    RecipeError at once, naming the `option`, where the file cannot be made or would replace `but`, the input; RunError
    for an OSError in the block.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise RecipeError(f"{option} {str(path)!r} is no regular file; give a file's name")
    if but is not None and but.exists() and target.exists() and os.path.samefile(target, but):
        raise RecipeError(f"{option} {str(path)!r} is the input itself; give another file")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise RecipeError(f"{option} {str(path)!r} cannot be written: {error.strerror}; give another file") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise RunError(f"{option} {str(path)!r} cannot be written to its end: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
