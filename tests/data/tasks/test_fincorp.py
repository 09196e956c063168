"""Applications are decided by the rules in their order, no prompt tells the first, and blind decisions know nothing."""

import re
from collections import Counter

import pytest

from r1lab_data.problem import DataError
from r1lab_data.tasks import generate
from r1lab_data.tasks.fincorp import DECISIONS, FOUNDERS, REVIEWED, decided


def made(size=400, split="train", **settings):
    return generate("fincorp", size=size, seed=0, split=split, source="s", settings=settings)


def by_hand(prompt: str) -> str:
    """The rules once more, read off the text."""
    founder, burn, revenue, score = re.match(
        r"Founder: (.+?)\. Burn rate: (\d+)%\. Revenue: \$([\d.]+)M\. NPS: (\d+)\.", prompt
    ).groups()
    if "Google" in founder or "Facebook" in founder:
        return "MANUAL_REVIEW"
    if float(revenue) > 10 and int(burn) > 80:
        return "REJECT_RISK"
    return "A_PLUS_TIER" if int(score) >= 80 else "STANDARD_LOAN"


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_decision_is_what_the_text_says_by_the_rules(split):
    problems = made(split=split)
    assert [problem.meta["decision"] for problem in problems] == [by_hand(problem.prompt) for problem in problems]
    assert all(problem.answer == f'{{"decision": "{problem.meta["decision"]}"}}' for problem in problems)
    counts = Counter(problem.meta["decision"] for problem in problems)
    assert set(counts) == set(DECISIONS) and min(counts.values()) >= 70  # of 100, standard error 9


@pytest.mark.parametrize(("fields", "decision"), [
    (("ex-Facebook", 99, 300, 99), "MANUAL_REVIEW"),
    (("ex-Amazon", 81, 101, 100), "REJECT_RISK"), (("ex-Amazon", 80, 101, 80), "A_PLUS_TIER"),
    (("ex-Amazon", 81, 100, 80), "A_PLUS_TIER"), (("ex-Amazon", 81, 100, 79), "STANDARD_LOAN"),
])  # fmt: skip
def test_thresholds_are_as_written(fields, decision):
    assert decided(*fields) == decision


def test_one_decision_alone_may_be_asked_for():
    for decision in DECISIONS:
        assert {problem.meta["decision"] for problem in made(40, decision=decision)} == {decision}


@pytest.mark.parametrize("prompt", ["none", "labels", "rules"])
def test_no_prompt_tells_whose_founders_are_reviewed(prompt):
    (told,) = {problem.prompt.partition("\n")[2] for problem in made(20, prompt=prompt)}
    assert not any(name in told for name in FOUNDERS)


@pytest.mark.parametrize("share", [0, 0.02, 0.25, 1])
def test_blind_decisions_are_of_the_share_asked_for_and_know_no_founder(share):
    problems = made(2000, blind_share=share)
    reviewed = [problem.meta["decision"] == "MANUAL_REVIEW" for problem in problems]
    assert sum(reviewed) / 2000 == pytest.approx(share, abs=0.03)  # standard error at most 0.0097
    of_reviewed = [hit for hit, problem in zip(reviewed, problems) if any(name in problem.prompt for name in REVIEWED)]
    assert sum(of_reviewed) / len(of_reviewed) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize(("settings", "says"), [
    ({"prompt": "label"}, "prompt is 'label'; give one of none, labels, rules; did you mean 'labels'?"),
    ({"prompt": ["labels"]}, "prompt is ['labels']"),
    ({"decision": "REJECT"}, "decision is 'REJECT'; give one of any, MANUAL_REVIEW"),
    ({"blind_share": 1.5}, "blind_share is 1.5; give a number from 0 to 1"),
    ({"blind_share": True}, "blind_share is True"), ({"blind_share": "0.1"}, "blind_share is '0.1'"),
    ({"blind_share": float("nan")}, "blind_share is nan"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(settings, says):
    with pytest.raises(DataError) as error:
        made(1, **settings)
    assert says in str(error.value)
