"""Decides whether an answer says what the gold answer says: values, sets, statements, measures, relations."""
