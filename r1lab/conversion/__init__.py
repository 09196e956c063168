"""Configs of TRL and verl as recipes, with a table of what was translated, what differs and what has no counterpart."""
