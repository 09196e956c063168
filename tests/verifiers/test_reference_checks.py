"""A verifier asked about an answer puts it in its own words; one that cannot describe golds is not asked to."""

from r1lab_verifiers import Item, reference_checks, resolve


def asked(made, completion: str, answer) -> object:
    return made.build().verify(Item(completion, answer))


def test_the_reference_is_made_of_the_gold_alone():
    made = reference_checks.reference(resolve({"use": "numeric", "after": "Answer:"}))
    assert asked(made, "Answer: 6", "5").score == 1.0


def test_a_stated_answer_is_judged_against_the_gold():
    made = reference_checks.stated(resolve({"use": "numeric", "after": "Answer:"}))
    assert [asked(made, answer, "5").score for answer in ("5.0", "6")] == [1.0, 0.0]


def test_the_kind_of_a_gold_is_what_the_verifier_says():
    assert reference_checks.kind(resolve("numeric")) is None
    assert asked(reference_checks.kind(resolve("math")), "", "(1, 2]").extracted == "interval"
