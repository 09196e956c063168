"""The command `r1lab`. Thin shells over public functions."""
