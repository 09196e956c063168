"""The verifier of mathematical answers: parse, compare, prove equal. Nothing runs or evaluates what a completion says.

verifier       the verdict
extract, gold  where the answer stands: in the completion, in the data; a gold's kind, the options of a choice
read/          one answer's text -> the typed trees it may mean: clean, tokens, the parser (grammar over expression,
               atoms, operators, structures), answer; words, units and hedges for what is no formula; linear: matrices
prove/         whether two expressions are equal: value, over exact (rationals), normal with poly and trig (canonical
               forms), sample with functions (numbers that reject), proof (sympy, last)
agree/         whether two trees agree by their types: agree, over measures, statements, members, realset, relations

read/ imports none of the others, prove/ only read/, agree/ only those two.
"""
