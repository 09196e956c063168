"""What runs are worth: evaluation, comparison, intervals, audits and the page that shows them.

Studies read what runs have written, or sample from finished models; `compare` has `r1lab.pipeline` make the runs first.
"""
