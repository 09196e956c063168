"""Mathematical answers: read, compared, proved equal. Nothing here runs, evaluates or imports what a completion says.

extract, gold       where the answer stands: in the completion, in the data
hedges              words that deny a number, bound it, or make it a part of the answer
clean, tokens       one spelling for each sign; the signs
grammar             a whole answer, over expression, atoms, operators and structures -> a tree
answer              what the same marks may mean: several trees; words, times, options and units for what is no formula
compare             whether two trees agree: measures, statements, members, linear, realset, relations by their types
value               whether two expressions are equal: exact (rationals), normal with poly and trig (forms),
                    sample with functions (numbers that reject), proof (sympy, last)
verifier            the verdict
"""
