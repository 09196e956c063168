"""Errors that end a command. Each message is one line: the value, what is allowed, the remedy."""

import signal

INTERRUPTED = 128 + signal.SIGINT
"""Exit code after Ctrl-C, as a shell says it."""


class RecipeError(ValueError):
    """The recipe, its arguments or its data are wrong; nothing was written. Exit code 2."""

    exit_code = 2


class RunError(RuntimeError):
    """The run could not go on; what was written stays whole. Exit code 1."""

    exit_code = 1


class Stopped(RunError):
    """A signal ended the command, what was written is whole; the same command goes on. Exit code as a shell says it,
    128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.exit_code = 128 + number
