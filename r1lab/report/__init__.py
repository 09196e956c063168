"""Figures and one HTML page from what runs have written."""
