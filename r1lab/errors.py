"""Errors that end a command. Each message is one line: the value, what is allowed, the remedy."""


class RecipeError(ValueError):
    """The recipe, its arguments or its data are wrong; nothing was written. Exit code 2."""


class RunError(RuntimeError):
    """The run could not go on; what was written stays whole. Exit code 1."""


class Stopped(RunError):
    """A signal ended the run after a whole step; the same command goes on."""
