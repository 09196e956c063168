"""Intervals and paired differences. Pure functions of numbers."""
