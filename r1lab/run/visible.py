"""Texts of others (completions, data, verifiers' reasons) made safe to show, on a terminal as on a page.

What a terminal would obey, what changes the direction of writing and what cannot be seen is written out.
"""

LONGEST_CHARACTERS = 3000
"""Characters shown of one text; its middle is left out."""


def visible(text: str, longest: int = LONGEST_CHARACTERS, gap: str = "\n[... {} characters left out ...]\n") -> str:
    """Text as it stands, with control, bidirectional and other invisible characters written out, its middle cut."""
    if len(text) > longest:
        half = longest // 2
        text = text[:half] + gap.format(len(text) - 2 * half) + text[-half:]
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\u{ord(char):04x}" for char in text)
