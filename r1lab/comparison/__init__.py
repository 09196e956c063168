"""Paired runs of several recipes and seeds at one budget, and what their intervals allow to say."""
