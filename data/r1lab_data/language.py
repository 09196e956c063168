"""Which language a text is in, as far as its letters' script tells: English from Chinese, not English from French.

Only words count, runs of two letters and more, so that a formula's variables are of no language.
"""

import re
import unicodedata

LATIN = ("LATIN",)
SCRIPTS = {
    **dict.fromkeys(("en", "de", "es", "fr", "it", "nl", "pl", "pt", "tr", "vi"), LATIN),
    **dict.fromkeys(("ru", "uk", "bg"), ("CYRILLIC",)),
    "zh": ("CJK",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL",),
    "ar": ("ARABIC",),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "th": ("THAI",),
}
"""Language -> first words of its letters' Unicode names."""
SHARE = 0.9
"""Of the letters, for a text to be in a language."""
_WORD = re.compile(r"[^\W\d_]{2,}")
"""`sum`, `die`; not `x` or `4`."""


def share(text: str, language: str) -> float | None:
    """Share of the letters in words that are of the language's script; None where there are no words.

    >>> share("the sum x is 5", "en"), share("4+8=12", "en")
    (1.0, None)
    """
    letters = "".join(_WORD.findall(text))
    if not letters:
        return None
    return sum(unicodedata.name(letter, "").startswith(SCRIPTS[language]) for letter in letters) / len(letters)


def is_in(text: str, language: str) -> bool:
    """Whether SHARE of the letters are of its script; a text without words is in any language."""
    found = share(text, language)
    return found is None or found >= SHARE
