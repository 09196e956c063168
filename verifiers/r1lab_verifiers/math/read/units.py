r"""Units, currencies and counted nouns behind a number: spelling, dimension, and exact conversion of what is measured.

A noun (`10 apples`) measures nothing and clashes with nothing; two units of other dimensions clash.
"""

import re
from fractions import Fraction

from r1lab_verifiers.math.read import names
from r1lab_verifiers.math.read.tree import Mul, Node, Num, Pow, Sym

_TABLE = """
    m = 1 m: m meter metre            cm = 1/100 m: cm centimeter centimetre
    mm = 1/1000 m: mm millimeter millimetre   km = 1000 m: km kilometer kilometre
    nm = 1/1000000000 m: nm nanometer nanometre   in = 127/5000 m: in inch inche
    ft = 381/1250 m: ft foot feet     yd = 1143/1250 m: yd yard
    mi = 201168/125 m: mi mile        g = 1 g: g gram
    mg = 1/1000 g: mg milligram       kg = 1000 g: kg kilogram
    lb = 45359237/100000 g: lb lbs pound   oz = 45359237/1600000 g: oz ounce
    s = 1 s: s sec second             ms = 1/1000 s: ms millisecond
    min = 60 s: min minute            h = 3600 s: h hr hrs hour
    day = 86400 s: day                week = 604800 s: week
    month = 1 month: month            year = 12 month: year yr yrs
    l = 1/1000 m^3: l liter litre     ml = 1/1000000 m^3: ml milliliter millilitre
    gal = 473176473/125000000000 m^3: gal gallon
    usd = 1 usd: dollar usd           cent = 1/100 usd: cent
    eur = 1 eur: euro eur             gbp = 1 gbp: gbp
    jpy = 1 jpy: yen jpy              inr = 1 inr: rupee inr
    deg = 1 deg: degree deg
    rad = 1 rad: radian rad           degc = 1 degc: degc
    degf = 1 degf: degf               mph = 1397/3125 m s^-1: mph
    kph = 5/18 m s^-1: kph kmh        n = 1 n: newton
    j = 1 j: joule                    w = 1 w: watt
    kw = 1000 w: kw kilowatt          hz = 1 hz: hertz hz
    k = 1 k: kelvin                   mol = 1 mol: mol mole
    pa = 1 pa: pascal pa              v = 1 v: volt
    a = 1 a: ampere amp               atm = 1 atm: atm
    ev = 1 ev: ev                     khz = 1000 hz: khz kilohertz
    mhz = 1000000 hz: mhz megahertz   ghz = 1000000000 hz: ghz gigahertz
    kpa = 1000 pa: kpa kilopascal     mpa = 1000000 pa: mpa megapascal
    kn = 1000 n: kn kilonewton        kj = 1000 j: kj kilojoule
    mw = 1000000 w: mw megawatt       db = 1 db: db decibel
    rpm = 1 rpm: rpm                  bps = 1 bps: bps
    um = 1/1000000 m: um micrometer   us = 1/1000000 s: us microsecond
    ohm = 1 ohm: ohm                  kohm = 1000 ohm: kohm
"""
"""unit = how many of which base units: its spellings, without a plural's s."""
# "km = 1000 m: km kilometer"; not "km: kilometer"
_ROW = re.compile(r"(\w+) = ([0-9/]+) ([a-z0-9^ -]+): ((?:\w+ ?)+?)(?=\s{2,}|\n|$)")
# "s^-1"; not "2"
_POWER = re.compile(r"([a-z]+)(?:\^(-?[0-9]))?|(/)")
_SCALES: dict[str, tuple[Fraction, dict[str, int]]] = {}
"""What one unit is in base units, and its dimension."""
_UNIT_OF: dict[str, str] = {}
for _unit, _scale, _base, _words in _ROW.findall(_TABLE):
    _SCALES[_unit] = Fraction(_scale), {name: int(power or 1) for name, power, _ in _POWER.findall(_base)}
    _UNIT_OF |= dict.fromkeys(_words.split(), _unit)
LETTERS = set("mgslhLNJWVAKCF")
"""Single letters that may be a unit right behind a number."""


_SPELLINGS = (
    # "ms^-1"; not "ms"
    (re.compile(r"\bms(?=\s*\^\s*-)"), "m s"),
    # "sq. cm"; not "squared cm"
    (re.compile(r"\b(?:square|sq)\.?\s+(\w+)"), r"\1^2"),
    # "cu. cm"; not "cubed cm"
    (re.compile(r"\b(?:cubic|cu)\.?\s+(\w+)"), r"\1^3"),
    # "cm squared"; not "square cm"
    (re.compile(r"(\w+)\s+squared\b"), r"\1^2"),
    # "cm cubed"; not "cubic cm"
    (re.compile(r"(\w+)\s+cubed\b"), r"\1^3"),
    # "N*m", "N m"; not "Nm"
    (re.compile(r"[\s.*]+"), " "),
    # "m per s", "m / s"; not "percent"
    (re.compile(r"\s*(?:\bper\b|/)\s*"), "/"),
)
# the "cm" of "cm^2"; not its "2"
_NAME = re.compile("[a-z]+")


def normal_spelling(unit: str) -> str:
    """A unit's spelling made uniform: `sq. centimeters` and `cm^2` are the same."""
    text = unit.lower().replace("\\", " ").replace("{", "").replace("}", "").replace("$", " ")
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    return _NAME.sub(lambda match: _word(match[0]), text).strip()


def _word(word: str) -> str:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _UNIT_OF:
            return _UNIT_OF[form]
    return word.removesuffix("s")


def measure(unit: str) -> tuple[Fraction, tuple[tuple[str, int], ...]] | None:
    """How many base units it is, and its dimension; None where a word of it is no unit."""
    total, dimension, sign = Fraction(1), {}, 1
    text = normal_spelling(unit)
    if not text or _POWER.sub("", text).strip():
        return None
    for word, power, slash in _POWER.findall(text):
        if slash:
            sign = -1
            continue
        if word not in _SCALES:
            return None
        scale, parts = _SCALES[word]
        exponent, sign = sign * int(power or 1), 1
        total *= scale**exponent
        for name, each in parts.items():
            dimension[name] = dimension.get(name, 0) + each * exponent
    return total, tuple(sorted((name, each) for name, each in dimension.items() if each))


def conversion(wanted: str, given: str) -> Fraction | None:
    """What a value in the given unit is multiplied with to be in the wanted one: 1 where either only names what is
    counted; None where they measure different things."""
    left, right = measure(wanted), measure(given)
    if left is None or right is None or normal_spelling(wanted) == normal_spelling(given):
        return Fraction(1)
    return right[0] / left[0] if left[1] == right[1] else None


def is_unit_word(word: str) -> bool:
    """Whether a bare word behind a number may be a unit or a noun."""
    lower = word.lower()
    known = lower in _UNIT_OF or lower.removesuffix("s") in _UNIT_OF
    return known or len(word) > 3 or lower in names.UNIT_WORDS


def unit_of_product(node: Node) -> str | None:
    """The unit that a product of letters may be: m/s, m s^-1; None where it is none."""
    match node:
        case Sym(name):
            return name if name in LETTERS or name in _UNIT_OF else None
        case Pow(Pow(Sym() as letter, Num(inner)), Num(outer)):
            return unit_of_product(Pow(letter, Num(inner * outer)))
        case Pow(Sym(name), Num(power)) if power.denominator == 1 and abs(power) < 4:
            return f"{name}^{power}" if unit_of_product(node.base) else None
        case Mul(args):
            parts = [unit_of_product(arg) for arg in args]
            return " ".join(part for part in parts if part) if all(parts) else None
    return None
