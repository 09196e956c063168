"""Units, currencies and counted nouns behind a number. Spelling only: no conversion between units."""

import re

_SPELLINGS = {
    "cm": "cm centimeter centimetre",
    "mm": "mm millimeter millimetre",
    "m": "m meter metre",
    "km": "km kilometer kilometre",
    "in": "inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard",
    "mi": "mi mile",
    "kg": "kg kilogram",
    "g": "g gram",
    "mg": "mg milligram",
    "lb": "lb lbs pound",
    "oz": "oz ounce",
    "l": "l liter litre",
    "ml": "ml milliliter millilitre",
    "gal": "gal gallon",
    "s": "s sec second",
    "min": "min minute",
    "h": "h hr hrs hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year yr yrs",
    "usd": "dollar usd",
    "cent": "cent",
    "eur": "euro eur",
    "deg": "degree deg",
    "rad": "radian rad",
    "mph": "mph",
    "kph": "kph kmh",
    "n": "newton",
    "j": "joule",
    "w": "watt",
    "kw": "kw kilowatt",
    "hz": "hz hertz",
    "k": "kelvin",
    "mol": "mol mole",
    "pa": "pa pascal",
    "nm": "nm nanometer nanometre",
    "v": "volt",
    "a": "ampere amp",
    "atm": "atm",
    "ev": "ev",
    "ms": "ms millisecond",
}
MEASURES = {word: unit for unit, words in _SPELLINGS.items() for word in words.split()}
LETTERS = set("mgslhLNJWVAKCF")
"""Single letters that may be a unit right behind a number."""
_GLUE = {
    "per",
    "of",
    "square",
    "cubic",
    "sq",
    "cu",
    "the",
    "each",
    "a",
    "squared",
    "cubed",
    "long",
    "wide",
    "tall",
    "old",
    "in",
    "about",
    "approximately",
}


def normal(unit: str) -> str:
    """A unit's spelling made uniform: `sq. centimeters` and `cm^2` are the same."""
    text = unit.lower().replace("\\", " ").replace("{", "").replace("}", "").replace("$", " ")
    text = re.sub(r"\b(?:square|sq)\.?\s+(\w+)", r"\1^2", text)
    text = re.sub(r"\b(?:cubic|cu)\.?\s+(\w+)", r"\1^3", text)
    text = re.sub(r"(\w+)\s+squared\b", r"\1^2", text)
    text = re.sub(r"(\w+)\s+cubed\b", r"\1^3", text)
    text = re.sub(r"\bper\b", "/", text)
    return re.sub(r"[a-z]+", lambda match: _word(match[0]), re.sub(r"[\s.*]+", " ", text)).replace(" ", "")


def _word(word: str) -> str:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in MEASURES:
            return MEASURES[form]
    return word.removesuffix("s")


def clash(left: str, right: str) -> bool:
    """Whether both are units of measure and not the same one: 3 cm is not 3 m. A noun clashes with nothing."""
    left, right = normal(left), normal(right)
    return left != right and _is_measure(left) and _is_measure(right)


def _is_measure(unit: str) -> bool:
    words = re.findall(r"[a-z]+", unit)
    return bool(words) and all(word in _SPELLINGS for word in words)


def is_unit_word(word: str) -> bool:
    """Whether a bare word behind a number may be a unit or a noun."""
    lower = word.lower()
    return (
        lower in MEASURES or lower.removesuffix("s") in MEASURES or lower in _GLUE or len(word) > 3 or lower in _NOUNS
    )


_NOUNS = {
    "men",
    "boy",
    "cow",
    "hen",
    "dog",
    "cat",
    "box",
    "car",
    "egg",
    "pie",
    "pen",
    "toy",
    "ways",
    "way",
    "mph",
    "day",
    "pm",
    "am",
}
