"""Words next to an answer that deny it: and words that only look so."""

import pytest

from r1lab_verifiers.text.denial import is_denied, is_taken_back


@pytest.mark.parametrize(("text", "denied"), [
    ("it is not @", True), ("it isn't @", True), ("x \\neq @", True), ("cannot be @", True), ("rather than @", True),
    ("@?", True), ("@ is wrong", True), ("@ isn't right", True), ("@ cannot be the answer", True), ("@ or not", True),
    ("it is @", False), ("not only @", False), ("notes: @", False), ("@, since that is wrong", False),
    ("@ is right", False), ("knot @", False), ("@. Is it?", False),
])  # fmt: skip
def test_a_denial_stands_next_to_what_it_denies(text, denied):
    start = text.index("@")
    assert is_denied(text, start, start + 1) == denied


@pytest.mark.parametrize(("text", "taken"), [
    ("@. But that is wrong.", True), ("@. No, it is not correct.", True), ("@. Wait, that's incorrect", True),
    ("@. Scratch that.", True), ("@. My answer was wrong", True),
    ("@. It is wrong to stop here.", False), ("@. That is right.", False), ("@. B is wrong.", False), ("@", False),
])  # fmt: skip
def test_a_later_sentence_may_take_an_answer_back(text, taken):
    assert is_taken_back(text, text.index("@") + 1) == taken
