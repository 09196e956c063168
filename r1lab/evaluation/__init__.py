"""A model's answers to a set of problems: sampled, judged, summarized with intervals, resumed."""
