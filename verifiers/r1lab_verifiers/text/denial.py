"""Words around an answer that deny it, doubt it or take it back. Says nothing about what the answer is."""

import re

_WRONG = (
    r"(?:wrong|incorrect|false|a\s+mistake|(?:a|in)\s+contradict[a-z]+|absurd|out|eliminated|excluded|impossible|ruled|invalid"
    r"|untrue)"
)
_RIGHT = r"(?:the\s+)?(?:correct|right|best|true|answer|it|possible|valid|an?\s+option)"
_NOT = r"(?:\s*n['\u2019]t|\s+not)"
_SURELY = r"(?:\s+(?:clearly|definitely|obviously|also|therefore|thus|actually|certainly|just|simply|probably|quite))?"
_BEFORE = re.compile(
    # "I would not choose", "it isn't", "x \neq "; not "notes", "not only"
    r"(?:\b(?:not|never|neither|nor|cannot|avoid|instead\s+of|rather\s+than)|n['\u2019]t|\u2260|!=|\\neq?)"
    r"(?:\s+(?:be|equal|equal\s+to|exactly))?[\s$*(]*$",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    # " is wrong", "?", " cannot be the answer", " or not"; not ", since A is wrong"
    rf"[\s*$`)%]*+(?:\?|or\s+not\b|[,.:]?\s*(?:which\s+)?(?:(?:is|was|are|would\s+be|seems|looks|must\s+be){_NOT}?"
    rf"(?:\s+(?:clearly|definitely|obviously|also|therefore|thus))?\s+{_WRONG}\b"
    rf"|(?:(?:is|was|are|would\s+be){_NOT}|can(?:not|['\u2019]t|\s+not)\s+be)\s+{_RIGHT}\b))",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    # "But that is wrong.", "No, it is not correct", "That can't be."; not "it is wrong to say"
    rf"\b(?:that|this|it|my\s+answer)(?:(?:['\u2019]s|\s+is|\s+was|\s+would\s+be|\s+seems|\s+looks){_SURELY}\s+{_WRONG}"
    rf"|(?:['\u2019]s|\s+is|\s+was|\s+would\s+be|\s+seems|\s+looks){_NOT}{_SURELY}\s+(?:correct|right|true|it|(?:the|my)\s+(?:[a-z]+\s+)?answer)"
    r"|\s+(?:cannot|can['\u2019]t|can\s+not)\s+be(?:\s+(?:correct|right|true|it|the\s+(?:[a-z]+\s+)?answer|the\s+case)|(?=\s*[.,;!]))"
    r"|\s+(?:does\s+not|doesn['\u2019]t)\s+(?:work|make\s+sense|add\s+up))\b"
    r"(?!\s+(?:to|that|if|because|for|when|of|any|more|less|a|an|[0-9])\b|[-\w])"
    # "I do not think so.", "I doubt it"; not "I doubt that 41 works", "no doubt"
    r"|\bi\s+(?:do\s+not|don['\u2019]t)\s+(?:think|believe)\s+(?:so|(?:that|this|it)(?:['\u2019]s|\s+is)\s+(?:correct|right|true|it))\b"
    r"|\bi\s+(?:[a-z]+\s+)?doubt\s+(?:it|that|this)(?=\s*(?:[.,;!]|\Z)|(?:['\u2019]s|\s+is)\s+(?:correct|right|true|it)\b)"
    r"|\bi\s+(?:was\s+wrong|made\s+an?\s+(?:[a-z]+\s+)?(?:mistake|error))\b"
    r"|\b(?:scratch|strike|forget|ignore|disregard)\s+that\b(?=\s*(?:[.,;!:]|\Z))|\bnever\s?mind\b|\bjust\s+kidding\b|\bor\s+so\s+i\s+thought\b",
    re.IGNORECASE,
)
_GAP = r"(?:\s+(?!(?:but|yet|so|hence|thus|therefore|and|then|because|since|still)\b)[^\s.,;:!?=]+){0,7}[\s$*({:]*\Z"
_UNCLAIMED = re.compile(
    # "I doubt that it is "; not "no doubt it is "
    r"(?:\b(?:i|we)\s+(?:(?!have|never|do)[a-z]+\s+)?doubt|\bdoubtful"
    # "it is wrong to say that it is "; not "it is wrong, so it is "
    r"|\b(?:false|wrong|incorrect|untrue|unlikely|improbable|impossible)\s+(?:that|to\s+(?:say|think|claim|conclude|assume|believe))"
    # "I am not sure that it is ", "nobody says it is "; not "I do not know, but it is "
    r"|(?:\bnot|n['\u2019]t|\bcannot|\bnever|\bnobody|\bno\s+one)\s+(?:[a-z]+\s+){0,2}?(?:think|believe|say|said|claim"
    r"|sure|certain|clear|true|convinced|conclude|mean|imply|know|case|shown|proved|proven)(?:s|es)?\b"
    # "one might think it is "; not "as one would expect it is "
    r"|(?<!as )\b(?:one|some|somebody|someone|people|you|they|many|others)\s+(?:might|may|could|would)\s+(?:[a-z]+\s+)?"
    r"(?:think|say|believe|guess|assume|argue|claim|expect)"
    # "it might seem that it is "; not "it seems that it is "
    r"|\b(?:may|might|would|could)\s+(?:[a-z]+\s+)?(?:seem|appear|look)"
    # "at first I thought it is ", "the wrong answer is "; not "at first it is "
    r"|\b(?:first|initially|originally)\s+(?:i\s+)?(?:thought|believed|guessed|assumed)"
    r"|\b(?:wrong|incorrect|false|naive|tempting)\s+(?:answer|result|value|choice|option)\s+(?:is|was|would\s+be)\b"
    r"|\b(?:mistake|error)\s+(?:is|was|would\s+be)\b"
    # "suppose the answer is "; not "if we add them, the answer is "
    r"|\b(?:if|whether|suppose|supposing|assume|assuming|imagine|pretend|unless)(?:\s+that)?(?=\s+(?:the|my|your|our|its)\s+(?:[a-z]+\s+)?answer\b)"
    # "even if it was "; not "if so, it is "
    r"|\b(?:whether|even\s+if)(?=\s+(?:it|this|that)\s+(?:is|was)\b))"
    + _GAP
    # "we can rule out "; not "excluding them leaves "
    + r"|\b(?:rul(?:e|es|ed|ing)\s+out|(?:reject|discard)(?:s|ed|ing)?|(?:exclud|eliminat)(?:e|es|ed|ing))"
    r"(?:\s+(?:that|the|number|value|option|answer|choice|is|case|[a-z]\s*=)){0,4}[\s$*({]*\Z",
    re.IGNORECASE,
)
_UNCLAIMED_SEEN = (
    "doubt", "false", "wrong", "incorrect", "untrue", "unlikely", "improbable", "impossible", "not", "n't", "n\u2019t",
    "never", "nobody", "no ", "may", "might", "would", "could", "first", "initially", "originally", "naive", "tempting",
    "mistake", "error", "if", "whether", "suppos", "assum", "imagine", "pretend", "unless", "rul", "reject", "discard",
    "exclud", "eliminat",
)  # fmt: skip
"""Without any of these a lead claims what it leads to, which is quicker to see."""
# "Answer: 5, or maybe "; not "for "
_HEDGE = re.compile(r"\b(?:or|maybe|perhaps|possibly|alternatively)[\s,*(]*$", re.IGNORECASE)
MAX_BEFORE_CHARACTERS, MAX_BEHIND_CHARACTERS, MAX_LEAD_CHARACTERS = 40, 60, 100


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands at `start` to `end` is denied or doubted by the words next to it."""
    before = text[max(0, start - MAX_BEFORE_CHARACTERS) : start]
    return bool(_BEFORE.search(before) or _BEHIND.match(text, end, end + MAX_BEHIND_CHARACTERS))


def is_taken_back(text: str, end: int) -> bool:
    """Whether a later sentence takes back what ended at `end`."""
    return _TAKEN_BACK.search(text, end) is not None


def is_alternative(text: str, start: int) -> bool:
    """Whether the words before `start` make what follows one answer more."""
    return _HEDGE.search(text[max(0, start - MAX_BEFORE_CHARACTERS) : start]) is not None


def is_unclaimed(before: str) -> bool:
    """Whether the words that lead to a statement say that it is not made: `I doubt that the answer is`."""
    lead = before[-MAX_LEAD_CHARACTERS:].lower()
    return any(map(lead.__contains__, _UNCLAIMED_SEEN)) and _UNCLAIMED.search(lead) is not None
