"""Learned scorers by themselves: what they read, in which order, and what they cannot score."""

import math

import pytest
import torch

from r1lab import embedded
from r1lab.errors import RecipeError, RunError
from r1lab.policy import classifier, models
from r1lab.recipe.data import PromptConfig
from r1lab.recipe.scorers import JudgeScorerConfig, RewardModelScorerConfig, scorer_of
from r1lab.rollout import judges, scorers
from r1lab.rollout.reward import ScorerSpec
from r1lab_verifiers.verdict import Item, Verdict

PROMPT = PromptConfig(format="Q: {prompt}\nA:")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    folder, tokenizer = tmp_path_factory.mktemp("scores"), models.load_tokenizer(str(embedded.path()))
    model = classifier.load_classifier(str(embedded.path()), seed=3)
    classifier.set_padding(model, tokenizer, tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def scorer(folder, *, reads_steps=False, **settings) -> scorers.ModelScorer:
    config = RewardModelScorerConfig(path=folder, **settings)
    return scorers.ModelScorer(ScorerSpec(config, folder, PROMPT, PROMPT, reads_steps), config, folder)


def items(*texts) -> list[Item]:
    return [Item(text, "2", "1+1", f"p{number}") for number, text in enumerate(texts)]


def alone(made, text) -> float:
    """The score by hand: prompt, completion with a space before it, end."""
    tokenizer = made.reader.renderer.tokenizer
    ids = tokenizer(f"Q: 1+1\nA:{text if text[:1] in ('', ' ') else ' ' + text}<eos>", add_special_tokens=False)
    return made.model(torch.tensor([ids["input_ids"]])).logits.item()


def test_scores_come_in_the_order_of_the_items_whatever_their_lengths(folder):
    made = scorer(folder)
    texts = ["2", "1+1=2. Answer: 2", "", " 2", "22222222"]
    assert made.score(items(*texts)) == pytest.approx([alone(made, text) for text in texts], abs=1e-4)
    small = scorer(folder, batch_tokens=30)
    assert small.score(items(*texts)) == pytest.approx(made.score(items(*texts)), abs=1e-4)
    assert made.score([]) == []


def test_a_text_that_spells_a_special_token_is_read_as_text(folder):
    made = scorer(folder)
    spelled, plain = made.score(items("2<eos><pad>3", "2  3"))
    assert spelled == pytest.approx(plain, abs=1e-5)
    assert judges.plain_text("a<e<eos>os>b", made.reader.special_tokens) == "a<e os>b"


def test_steps_are_lines_each_with_the_place_where_it_ends(folder):
    made = scorer(folder, reads_steps=True)
    (steps, one, none, blank) = made.score(items("1+1=2\nAnswer: 2", "2", "", "2\n\n"))
    assert [end for end, _ in steps] == [6, 15] and all(0 < score < 1 for _, score in steps)
    assert [len(said) for said in (one, none, blank)] == [1, 1, 1] and (none[0][0], blank[0][0]) == (0, 3)
    assert [end for end, _ in made.score(items("1<eos>\n2"))[0]] == [7, 8], "as it was written"
    whole = scorer(folder).score(items("2"))[0]
    assert one[0][1] == pytest.approx(1 / (1 + math.exp(-whole)), abs=1e-5)


def test_a_completion_beyond_the_scorers_limit_is_scored_by_what_fits(folder):
    made, steps = scorer(folder), scorer(folder, reads_steps=True)
    made.reader.limit = steps.reader.limit = 20
    ids = made.reader.renderer.tokenizer("Q: 1+1\nA: " + "2" * 40, add_special_tokens=False)["input_ids"][:20]
    by_hand = made.model(torch.tensor([ids])).logits.item()
    assert made.score(items("2", "2" * 40))[1] == pytest.approx(by_hand, abs=1e-4)
    (said,) = steps.score(items("2\n" + "3" * 40 + "\n4"))
    assert [end for end, _ in said] == [2, 43, 44] and said[0][1] > 0 and [score for _, score in said[1:]] == [0, 0]
    (said,) = steps.score(items("2" * 40))
    assert said == ((40, 0.0),)


def test_a_prompt_beyond_the_scorers_limit_or_no_number_is_an_error(folder, monkeypatch):
    made = scorer(folder)
    made.reader.limit = 5
    (long,) = made.score(items("2"))
    assert isinstance(long, Verdict) and long.status == "error" and "which reads at most 5" in long.reason
    made.reader.limit = 100
    monkeypatch.setattr(made, "_forward", lambda batch: [[float("inf")] for _ in batch])
    (said,) = made.score(items("2"))
    assert (said.status, said.reason) == ("error", "the scorer's score is inf")


def test_a_prompt_of_messages_that_a_template_cannot_write_is_an_error_of_that_item(folder):
    made = scorer(folder)
    bad = Item("2", "", ({"role": "assistant", "content": "x"},), "p")
    good, failed = made.score([*items("2"), bad])
    assert isinstance(good, float) and failed.status == "error" and "the scorer cannot read it" in failed.reason


def judge(question="{prompt} {completion}?", **settings) -> judges.Judge:
    config = JudgeScorerConfig(prompt="f", options={"yes": 1, "no": 0}, **settings)
    return judges.Judge(config, str(embedded.path()), question)


def test_a_judge_weighs_its_options_by_their_probabilities():
    made = judge(least=0.0)
    weights = made.ask(prompt="1+1", completion="2", answer="2")
    tokenizer, model = made.model.model.tokenizer, made.model.model.model
    start = tokenizer("1+1 2?", add_special_tokens=False)["input_ids"]
    for option, weight in zip(("yes", "no"), weights):
        ids = tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
        logps = model(torch.tensor([start + ids])).logits[0, len(start) - 1 : -1].log_softmax(-1)
        assert weight == pytest.approx(math.exp(sum(logps[at, token].item() for at, token in enumerate(ids))), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("yes", "yes, so"), "'yes, so' begins with the tokens of 'yes'"),
        (("12", "1", "3"), "'12' begins with the tokens of '1'"),
        (("A", "A "), "begins with the tokens of"),
        (("yes", "no"), ""),
        (("A", "B"), ""),
        (("great", "grim"), ""),  # they share what they begin with, and neither is the other's beginning
        (("on", "no"), ""),
        (("1", "21"), ""),
    ],
)
def test_no_option_of_a_judge_begins_another(options, told):
    tokenizer = models.load_tokenizer(str(embedded.path()))
    config = JudgeScorerConfig(prompt="f", options={option: float(not place) for place, option in enumerate(options)})
    if not told:
        return judges.check_options(tokenizer, config, "judge")
    with pytest.raises(RecipeError, match=told):
        judges.check_options(tokenizer, config, "judge")


def test_what_a_judge_is_asked_is_filled_in_once_and_spells_no_special_token():
    made = judge()
    text = judges.filled(made.question, made.model.special_tokens, prompt="{completion}", completion="{prompt}<eos>{x}")
    assert text == "{completion} {prompt} {x}?"


@pytest.mark.parametrize("why", [[0.1, 0.2], [float("nan"), 0.2], None])
def test_a_completion_that_keeps_a_judge_from_an_answer_scores_zero(monkeypatch, why):
    made = judge(least=0.5)
    monkeypatch.setattr(made.model, "weights", lambda text: why if "say maybe" in text else [0.9, 0.05])
    said = made.score(items("2", "say maybe"))
    assert [(each.status, each.score) for each in said] == [("correct", 1.0), ("unparsable", 0.0)]


def test_a_judge_that_answers_neither_option_gives_an_error_and_remembers_it(monkeypatch):
    made = judge(least=0.5)
    calls = []
    monkeypatch.setattr(made.model, "weights", lambda text: calls.append(text) or [0.1, 0.2])
    said = made.score([*items("2", "2"), *items("3")])
    assert [each.status for each in said] == ["error"] * 3 and "together 0.3" in said[0].reason
    assert len(calls) == 3, "a text is asked about once, and once without the completion"
    monkeypatch.setattr(made.model, "weights", lambda text: [float("nan"), 0.2])
    assert made.score(items("4"))[0].status == "error"
    monkeypatch.setattr(made.model, "weights", lambda text: None)
    assert "exceeds the judge's context" in made.score(items("5"))[0].reason


@pytest.mark.parametrize(
    ("weights", "soft", "score", "status"),
    [([0.6, 0.3], False, 1.0, "correct"), ([0.2, 0.6], False, 0.0, "wrong"), ([0.4, 0.4], False, 0.0, "undecided"),
     ([0.6, 0.2], True, 0.75, "partial"), ([0.5, 0.5], True, 0.5, "partial")],
)  # fmt: skip
def test_a_judges_verdict_is_its_most_probable_option_or_their_mean_worth(monkeypatch, weights, soft, score, status):
    made = judge(soft=soft)
    monkeypatch.setattr(made.model, "weights", lambda text: weights)
    (said,) = made.score(items("2"))
    assert (said.score, said.status) == (pytest.approx(score), status)


class Server:
    """A server that answers each route with what it is told."""

    url = "http://judge"

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def post(self, route, body):
        self.asked.append((route, body))
        return self.replies.pop(0)


def served(monkeypatch, *replies, **settings) -> tuple[judges.Judge, Server]:
    server = Server(*replies)
    monkeypatch.setattr(judges, "Wire", lambda url: server)
    config = JudgeScorerConfig(prompt="f", options={"yes": 1, "no": 0}, server="http://judge", model="m", **settings)
    return judges.Judge(config, "", "{prompt} {completion}?"), server


def test_a_server_judges_by_the_log_probabilities_of_one_token(monkeypatch):
    plain = {"choices": [{"logprobs": {"top_logprobs": [{" yes": math.log(0.6), "yes": math.log(0.1), " no": -2.0}]}}]}
    made, server = served(monkeypatch, plain)
    weights = made.ask(prompt="1+1", completion="2", answer="2")
    assert weights == pytest.approx([0.7, math.exp(-2.0)])
    assert server.asked[0][0] == "/v1/completions" and server.asked[0][1]["prompt"] == "1+1 2?"
    each = {"top_logprobs": [{"token": "no", "logprob": math.log(0.9)}]}
    made, server = served(monkeypatch, {"choices": [{"logprobs": {"content": [each]}}]}, chat=True)
    (said,) = made.score(items("2"))
    assert (said.score, said.extracted, server.asked[0][0]) == (0.0, "no", "/v1/chat/completions")


def test_what_a_served_judge_reads_is_counted_by_the_server_and_asked_for_once(monkeypatch):
    def reply(**usage):
        return {"choices": [{"logprobs": {"top_logprobs": [{"yes": -0.1, "no": -3.0}]}}], **usage}

    counted = [reply(usage={"prompt_tokens": number, "completion_tokens": 1}) for number in (7, 9)]
    made, server = served(monkeypatch, *counted)
    parts = {"prompt": "1+1", "first": "2", "second": "3"}
    made.question = "{prompt} {first} {second}?"
    assert made.preferences(**parts) is not None
    assert made.judging(**parts) == (16, 0) == made.judging(**parts) and len(server.asked) == 2
    # What another process has judged is read from its table, and counted by asking.
    made, server = served(monkeypatch, counted[0])
    assert made.num_tokens(items("2")[0]) == 7 == made.num_tokens(items("2")[0])
    for nothing in ({}, {"usage": None}, {"usage": {"prompt_tokens": None}}):
        made, _ = served(monkeypatch, reply(**nothing))
        assert made.num_tokens(items("2")[0]) == 0


@pytest.mark.parametrize("reply", [{}, {"choices": [{"logprobs": None}]}, None, {"choices": [{"text": "yes"}]}])
def test_a_server_without_log_probabilities_is_refused(monkeypatch, reply):
    made, _ = served(monkeypatch, reply)
    with pytest.raises(RunError, match="says no log-probabilities of what it answers"):
        made.score(items("2"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"server": "http://x"}, "server and model go together"),
     ({"server": "http://x", "model": "m", "path": "p"}, "are several models"),
     ({"server": "http://x", "model": "m", "options": {"very good": 1, "no": 0}}, "'very good' is no single word")],
)  # fmt: skip
def test_what_a_server_cannot_judge_is_refused_before(settings, told):
    with pytest.raises(RecipeError, match=told):
        scorer_of({"use": "judge", "prompt": "f", "options": {"a": 1, "b": 0}, **settings}, "reward.x")
