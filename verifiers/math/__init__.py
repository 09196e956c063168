"""Mathematical answers: read, compared, proved equal. Nothing here runs, evaluates or imports what a completion says.

extract (where the answer stands) -> clean, tokens, expression, answer (text to a typed tree) -> compare, which asks
exact (rationals), normal (canonical forms), sample (numbers that reject), radicals and proof (numbers that agree).
"""
