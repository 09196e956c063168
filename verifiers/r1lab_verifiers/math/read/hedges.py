"""Detects words and signs by which a number or formula is not the whole answer: denied, a bound, one of several.

Text in, yes or no out. Used where an answer has no mark of its own (`extract`), where it stands among words (`answer`)
and where words behind a number may be its unit (`grammar`). Knows no mathematics and no list of units.
"""

import re

from r1lab_verifiers.text.denial import is_taken_back, is_unclaimed

_END = r"[\s$*({}\\]*\Z"
_NUMERALS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty|seventy"
    "|eighty|ninety|hundred|thousand|million|billion|trillion|dozen|lakh|crore"
)
_SHARES = (
    "multiples?|factors?|divisors?|powers?|roots?|half|halves|thirds?|quarters?|percent|percentage|fractions?|parts?|portions?|out"
    "|instead|squares?|cubes?|reciprocal|inverse|negative|opposite|ahead|short|bounds?|limits?|most|some|any|none|either"
)
"""Of these, `of 18` says what 18 is not; an open number of others is 18: a total, a balance, a profit."""
_ENDS = (
    "close|closer|next|near|nearer|proportional|relative|compared|according|prior|similar|opposed|limited|restricted"
    "|subject|due"
)
"""`to 18` behind them says what 18 is not; behind an open number of verbs it is what they come to."""
_PARTS = "halves|thirds|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths"
_BEFORE = (
    # "it is not the "; not "nothing but "
    re.compile(r"(?:\b(?:(?:can)?not|never|neither|nor|without)\b|[a-z]n't)[\s$*(}]*(?:[a-z]+\s+){0,3}" + _END, re.I),
    # "4 or "; not "order of "
    re.compile(r"\b(?:or|than|versus|vs\.?|at\s+(?:least|most))(?![a-z.])[\s$*(}]*(?:[a-z]+\s+){0,2}" + _END, re.I),
    # "divided by "; not "followed by "
    re.compile(
        r"\b(?:over|under|below|above|beyond|exceed(?:s|ing)?|within|until|except|minus|negative|plus|times|twice"
        r"|thrice|near|double|triple|half|(?:anything|everything|all)\s+but|(?:divid|divis|multipl)[a-z]+\s+by"
        r"|bound(?:ed)?(?:\s+(?:is|of|by))?\s*[:=]?)" + _END,
        re.I,
    ),
    # "between 4 and "; not "and "
    re.compile(r"(?:\bbetween\b[^.\n]*\band|[0-9][ \t$)}*]*(?:\band\b|[&,;?!/|]|[ \t]))" + _END, re.I),
    # "41, maybe ", "different from "; not "maybe ", "comes from "
    re.compile(
        r"(?:[0-9][ \t$)}*]*[,;]?\s*(?:or\s+)?(?:maybe|perhaps|possibly)"
        r"|\b(?:different|distinct|apart|aside|away|far)\s+from)" + _END,
        re.I,
    ),
    # "a multiple of "; not "a balance of "
    re.compile(rf"(?:\b(?:{_SHARES})|%)\s+of(?:\s+(?:the|a|an))?" + _END, re.I),
    # "close to ", "3 to "; not "drops to "
    re.compile(rf"(?:\b(?:{_ENDS})|(?<!from)\s[0-9][0-9.,]*)\s+to" + _END, re.I),
    # "is up to "; not "brings it up to "
    re.compile(
        r"\A(?!.*\b(?:brings?|brought|add(?:s|ing|ed)?|goes|went|go|comes?|came|sums?|rises?|rose|moves?|rounds?|work|builds?|tops?)\b)"
        r".*\bup\s+to" + _END,
        re.I | re.DOTALL,
    ),
    # "x \ge "; not "x = "
    re.compile(r"(?:[<>\u2260\u2264\u2265]|\\(?:neq?|geq?|leq?|lt|gt)(?![a-z]))" + _END),
)
"""Right before it."""
# " or 6"; not " is the answer"
_AFTER = re.compile(
    r"(?:[\s*$)}%]|\\[,;: ]|\\(?:text|mathrm|mbox)\s*\{)*(?:"
    r"\?|,?\s*which\s+(?:(?:is|was)\s+(?:impossible|wrong|incorrect|absurd|false|(?:a\s+|in\s+)?contradict[a-z]+|not\s+(?:possible|correct|right|true|allowed))|contradicts|(?:cannot|can['\u2019]t|can\s+not)\s+be)\b"
    r"|(?:or|not|but|vs|versus|equals|percent\s+of|of\s+[a-z](?![a-z]))\b|\.\.|\\[lc]?dots|\u2026|=|[+*^]\s*[A-Za-z0-9\\(]|/\s*(?:[0-9\\(]|[A-Za-z](?![A-Za-z]))"
    r"|(?:is|are|was|were)\s+(?:not\s+(?:the|an?|right|correct|my|our|equal|it|so)\b|wrong|incorrect|false|too|less|more|greater|smaller|larger|fewer|at\s+(?:least|most)|impossible"
    r"|(?:the|an?|our|my|his|her)\s+(?:[a-z]+\s+)?(?:upper|lower|bound|limit|wrong|incorrect|guess|estimate|multiple|factor|divisor))\b"
    r"|(?:is|are|was|were)n't\b|[a-z]{1,12}\s+(?:is|are|was|were)\s+(?:not\s+(?:the|right|correct|it)\b|wrong\b|incorrect\b)"
    r"|(?:does\s+not|doesn['\u2019]t)(?:\s+(?:work|satisfy|hold)\b|\s*[,.;])|is\s+(?:extraneous|invalid|rejected|discarded|ruled\s+out)\b"
    r"|(?:divided|multiplied)\s+by\b"
    rf"|(?:squared|cubed|factorial|minus|plus|and\s+a\s+half|{_PARTS}"
    rf"|(?:times|x|(?:less|more|fewer)\s+than)\s+(?:itself|{_NUMERALS}|[0-9$]|[b-z]\b)"
    rf"|point\s+(?:{_NUMERALS})|below|above|lakh|crore|dozen|(?:hundred|thousand|million|billion|trillion)s?)\b)"
)
"""Right behind it. `42 is the answer` takes nothing back."""
# " and so"; not ", as said"
_GOES_ON = re.compile(r"[0-9+*/^=<>)]|\b(?:or|and|not)\b|\\(?:text\s*\{\s*)?(?:or|and|not)\b")
"""Anywhere behind a formula among words: then it is not all of the answer."""
# " \text{cm}"; not "cm"
_IN_TEXT = re.compile(r"(?:\s|\\[,;: ])*\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}")
# "cm^2"; not "5^2"
_EXPONENT = re.compile(r"(?<=[A-Za-z.}])\s*\^\s*\{?\s*-?[0-9]\s*\}?")
# "feet squared"; not "x squared"
_LENGTH_POWER = re.compile(
    r"\b(?:[mck]?m|s|in|ft|yd|mi|inch(?:es)?|feet|foot|units?|seconds?|(?:(?:centi|milli|kilo)?met(?:er|re)|yard|mile)s?)"
    r"\.?\s+(?:squared|cubed)\b",
    re.I,
)
# "at least"; not "apples"
_NO_UNIT = re.compile(
    r"[0-9!?]|\b(?:is|are|was|were|be|if|when|where|whenever|because|since|even|odd|prime|composite|real|rational|irrational|pi|sqrt|frac|infty|or|and|nor|not|never|cannot|but|unless|maybe|perhaps|possibly|probably|than|most|least|wrong|incorrect"
    r"|false|below|above|under|over|except|instead|rather|either|neither|kidding|joking|minus|plus|choose|factorial|itself|divided"
    rf"|multiplied|doubled|tripled|halved|squared|cubed|{_NUMERALS})\b(?!-\s*[a-z])|\bof\s+[a-z]\b|n't\b"
    r"|\btimes\b(?!\s*\Z|\s+(?:per|each|every|as|more|an?)\s+[a-z]{3})"
    rf"|\A\s*(?:half|{_PARTS}|tens|hundreds|thousands|millions|billions|dozens|lakhs|crores|gross|score)\b",
    re.I,
)

# "7, I think"; not "I think 7"
_RESERVE = re.compile(
    r"(?<![\s,(])[\s,(]++(?:i\s+(?:think|guess|believe|suppose|hope)|i'm\s+(?:pretty\s+|quite\s+)?sure|if\s+i(?:'m|\s+am)\s+not\s+(?:mistaken|wrong)"
    r"|(?:but\s+)?i(?:'m|\s+am)\s+not\s+(?:entirely\s+|completely\s+|quite\s+|really\s+)?sure)[\s).!]*\Z",
    re.IGNORECASE,
)


def without_reserve(text: str) -> str:
    """The text without words behind it by which the speaker reserves the right to be wrong."""
    return _RESERVE.sub("", text)


def denies(before: str) -> bool:
    """Whether the text before an answer says that it is none, or only a bound or a part of one."""
    tail = before[-60:]
    for pattern in _BEFORE:
        if pattern.search(tail):
            return True
    return is_unclaimed(before)


def takes_back(after: str) -> bool:
    """Whether the text behind an answer goes on with it or takes it back."""
    if _AFTER.match(after):
        return True
    while words := _IN_TEXT.match(after):
        if is_no_unit(words[1]):
            return True
        after = after[words.end() :]
    return False


def goes_on(after: str) -> bool:
    """Whether anything behind a formula among words belongs to the answer too."""
    return takes_back(after) or _GOES_ON.search(after) is not None or is_taken_back(after, 0)


def is_no_unit(words: str) -> bool:
    """Whether words behind a number work on it, bound it or deny it, and so are neither a unit nor what is counted."""
    return _NO_UNIT.search(_LENGTH_POWER.sub("", _EXPONENT.sub("", words))) is not None
