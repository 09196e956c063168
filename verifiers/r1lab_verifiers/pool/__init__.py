"""Killable worker processes that run verifiers, and whose fault a failure is."""
