"""Processes forked on request from a warm template, killed and reaped; frames between them."""
