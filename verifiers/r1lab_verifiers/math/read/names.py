"""What words and commands mean: functions, constants, relations, environments. Tables only."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def pairs(text: str) -> dict[str, str]:
    """Spelling and meaning by turns."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


FUNCTIONS = _words(
    """
    sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth sech csch arcsinh arccosh
    arctanh log exp abs floor ceil round sgn gcd lcm max min det tr re im arg conj sqrt binom lg
    """
)
"""Canonical names. `log` is natural unless a base is stated."""
ALIASES = pairs(
    """
    ln log asin arcsin acos arccos atan arctan acot arccot asinh arcsinh acosh arccosh atanh arctanh arsinh arcsinh
    arcosh arccosh artanh arctanh sh sinh ch cosh th tanh tg tan ctg cot cosec csc arctg arctan ceiling ceil GCD gcd
    LCM lcm Max max Min min Abs abs trace tr Tr tr Re re Im im sign sgn binomial binom nCr binom comb binom arcsinh
    arcsinh log log
    """
)
WORD_FUNCTIONS = FUNCTIONS - _words("re im tr arg conj lg") | ALIASES.keys() - _words("sh ch th tg Tr Re Im")
"""Those that a plain word may mean too, as in `sqrt(17)`."""
CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "Infinity": "oo", "oo": "oo", "mathrm{e}": "e"}
GREEK = _words(
    """
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron rho varrho
    sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega
    ell hbar nabla partial aleph
    """
)
SAME_LETTER = {"varepsilon": "epsilon", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma", "varphi": "phi"}
RELATIONS = pairs(
    """
    = = == = := = < < > > <= <= >= >= != != <> != => => -> -> lt < gt > le <= leq <= leqslant <= leqq <= ge >= geq
    >= geqslant >= geqq >= ne != neq != in in notin notin ni ni approx ~ simeq = cong = sim = equiv == doteq = to ->
    rightarrow -> mapsto -> implies => Rightarrow => iff <=> Leftrightarrow <=> subset subset subseteq subseteq
    supset supset supseteq supseteq propto propto parallel parallel perp perp mid mid coloneqq = nless >=
    ngtr <= lesssim <= gtrsim >=
    """
)
SIGN_RELATIONS = {"=", "==", ":=", "<", ">", "<=", ">=", "!=", "<>", "=>", "->"}
SET_OPERATORS = pairs(
    "cup cup cap cap setminus setminus backslash setminus smallsetminus setminus bigcup cup bigcap cap U cup"
)
TIMES = {"cdot", "times", "ast", "bullet"}
EMPTY = {"emptyset", "varnothing"}
OPENING = {"(": ")", "[": "]", "{": "}", "lbrace": "}", "lbrack": "]", "lparen": ")", "langle": "rangle"}
SAME_BRACKET = {"langle": "(", "lbrack": "[", "lparen": "(", "rangle": ")", "rbrack": "]", "rparen": ")"}
ELLIPSES = {"ldots", "dots", "cdots", "dotsc", "dotsb", "dotsm", "vdots", "ddots", "dotso"}
MATRICES = _words(
    """
    matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array psmallmatrix bsmallmatrix
    """
)
CASES = {"cases", "dcases", "rcases"}
JOINERS = {"and", "or", "if", "for", "where", "with", "when", "und", "oder", "et", "ou"}
"""Words that stand between answers."""
CALLED = set("fghFG")
"""Letters that, right before a bracket, are functions and not factors."""
BASES = {
    word: int(base)
    for word, base in pairs(
        "two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12 sixteen 16"
    ).items()
}
WORDS = _words(
    """
    the and or is are not no yes odd day one two six ten of to in at on it we so for cm mm km kg mg ml ft am pm mi
    lb lbs oz hr hrs min sec ms mph kph rad deg gal yd mon tue wed thu fri sat sun jan feb mar apr may jun jul aug
    sep oct nov dec red men dog cat ann bob tom joe sam amy kim dna rna usd eur sq cu dne all any max new out his
    her if mod as by be has had was but can cow hen boy man big top see use nm kj mol pa kw hz ev atm cal per zip
    """
)
"""Short words that are no product of letters."""
UNIT_WORDS = _words(
    """
    per of square cubic sq cu the each a squared cubed long wide tall old in about approximately
    men boy cow hen dog cat box car egg pie pen toy ways way pm am
    """
)
"""Words of a unit or a counted noun that are shorter than most."""
NOT_FACTORS = _words(
    r"""
    bigcup bigcap lor land vee wedge
    cup cap setminus cr newline rbrack rparen mod pmod bmod pm mp div over choose end rangle rbrace rceil rfloor rvert
    rVert urcorner lrcorner quad text ] ) } | & backslash smallsetminus % Vert mid \
    """
)
"""Commands that begin no factor of a product."""
