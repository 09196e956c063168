"""Finds answers in plain text and reads numbers and arithmetic, without LaTeX mathematics."""
