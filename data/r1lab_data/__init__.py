"""Problems and where they come from. Importing the package loads the standard library only (`r1lab_data.problem`)."""

from r1lab_data.problem import DataError, Problem

__all__ = ["DataError", "Problem"]
