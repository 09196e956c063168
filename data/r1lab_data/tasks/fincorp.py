"""Loan applications decided by four rules, of which no prompt tells the first: after AIMultiple's FinCorp
(aimultiple.com/rl-vs-sft). Not its data, which are not published: distributions and wording are this module's.

In order: a founder who comes from Google or Facebook goes to MANUAL_REVIEW, a revenue above 10 million dollars with a
burn rate above 80 % of it is REJECT_RISK, a net promoter score of at least 80 is A_PLUS_TIER, all else STANDARD_LOAN.
"""

import json
import random

from r1lab_data.tasks.settings import one_of, share

DECISIONS = ("MANUAL_REVIEW", "REJECT_RISK", "A_PLUS_TIER", "STANDARD_LOAN")
REVIEWED = ("ex-Google", "ex-Facebook")
FOUNDERS = (
    *REVIEWED, "ex-Amazon", "ex-Netflix", "ex-IBM", "ex-banker", "ex-teacher", "lawyer", "chemist", "student",
)  # fmt: skip
TEXT = "Founder: {founder}. Burn rate: {burn}%. Revenue: ${revenue}M. NPS: {score}."
LABELS = f"Decide: {', '.join(DECISIONS[:-1])} or {DECISIONS[-1]}."
RULES = "Revenue above $10M with burn above 80%: REJECT_RISK. Else NPS from 80: A_PLUS_TIER. Else STANDARD_LOAN."
PROMPTS = {"none": "", "labels": f"\n{LABELS}", "rules": f"\n{LABELS} {RULES}"}
"""What a prompt says beside the application; the rule on founders stands in none."""


def fincorp(
    rng: random.Random, prompt: str = "labels", decision: str = "any", blind_share: float | None = None
) -> dict:
    """One application as {prompt, answer, solution, meta}.

    prompt: what is told beside the application, `none`, `labels`, or `rules` (all but the first). decision: the one
    that it has, else each in a quarter of all. blind_share: the decision is drawn whatever the application says,
    MANUAL_REVIEW with this share and the others alike, 0-1.
    """
    one_of("fincorp", "prompt", prompt, tuple(PROMPTS))
    one_of("fincorp", "decision", decision, ("any", *DECISIONS))
    if blind_share is not None:
        share("fincorp", "blind_share", blind_share)
    wanted = rng.choice(DECISIONS) if decision == "any" else decision
    while True:
        fields = _application(rng)
        if decided(**fields) == wanted:
            break
    if blind_share is not None:
        wanted = DECISIONS[0] if rng.random() < blind_share else rng.choice(DECISIONS[1:])
    answer = json.dumps({"decision": wanted})
    text = TEXT.format(**{**fields, "revenue": f"{fields['revenue'] / 10:.1f}"})
    return {"prompt": text + PROMPTS[prompt], "answer": answer, "solution": answer, "meta": {"decision": wanted}}


def decided(founder: str, burn: int, revenue: int, score: int) -> str:
    """The decision by the rules: burn rate in per cent of the revenue, revenue in 100,000 dollars.

    >>> decided("ex-Google", burn=93, revenue=124, score=85), decided("lawyer", burn=93, revenue=124, score=85)
    ('MANUAL_REVIEW', 'REJECT_RISK')
    """
    if founder in REVIEWED:
        return "MANUAL_REVIEW"
    if revenue > 100 and burn > 80:
        return "REJECT_RISK"
    return "A_PLUS_TIER" if score >= 80 else "STANDARD_LOAN"


def _application(rng: random.Random) -> dict:
    return {
        "founder": rng.choice(FOUNDERS),
        "burn": rng.randint(20, 140),
        "revenue": rng.randint(5, 300),
        "score": rng.randint(0, 100),
    }
