"""Evaluation of a model on a set of problems: sampled, verified, summarized with intervals, resumed."""
