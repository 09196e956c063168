"""Problems and where they come from. Importing the package loads the standard library only (`data.problem`)."""

from data.problem import DataError, Problem

__all__ = ["DataError", "Problem"]
