"""`r1lab verify` and `r1lab audit` with a reward model or a judge in a verifier's place."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from r1lab import embedded
from r1lab.audit.audit import audit
from r1lab.audit.verify import verify
from r1lab.errors import RecipeError, RunError
from r1lab.policy import classifier, models

ROWS = [{"prompt": "1+1", "completion": said, "expected": said == "2"} for said in ("2", "3", "22", "")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A reward model of the embedded one, its head drawn."""
    folder, tokenizer = tmp_path_factory.mktemp("scores"), models.load_tokenizer(str(embedded.path()))
    model = classifier.load_classifier(str(embedded.path()), seed=3)
    classifier.set_padding(model, tokenizer, tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def written(rows, verifier, tmp_path, **settings) -> list[dict]:
    out = tmp_path / "out.jsonl"
    verify(Path(rows(*ROWS)), verifier, out=out, settings=settings)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_reward_model_judges_by_a_threshold_on_its_score(folder, rows, tmp_path):
    spec = {"use": "reward_model", "path": folder}
    judged = written(rows, spec, tmp_path)
    scores = [float(row["extracted"]) for row in judged]
    assert [row["score"] for row in judged] == [float(score > 0) for score in scores] and len(set(scores)) == 4
    middle = sum(sorted(scores)[1:3]) / 2
    again = written(rows, spec, tmp_path, threshold=middle)
    assert [row["status"] == "correct" for row in again] == [score > middle for score in scores]


def test_a_batch_scores_as_each_alone(folder, rows, tmp_path):
    spec = {"use": "reward_model", "path": folder}
    together = [float(row["extracted"]) for row in written(rows, spec, tmp_path)]
    alone = [float(row["extracted"]) for row in written(rows, {**spec, "batch_tokens": 1}, tmp_path)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_an_audit_counts_a_scorers_false_positives_beside_a_verifier(folder, rows):
    spec = {"use": "reward_model", "path": folder}
    path = Path(rows(*({**row, "answer": "2"} for row in ROWS)))
    found = audit(path, spec, against="exact").figures
    assert found["rows"] == 4 and len(found["verifiers"]) == 2
    counts = next(iter(found["verifiers"].values()))["confusion"]
    assert sum(sum(each.values()) for each in counts.values()) == 4


def test_a_judge_gives_its_verdicts(rows, tmp_path):
    (tmp_path / "q.txt").write_text("{prompt} {completion}\nRight?")
    judge = {"use": "judge", "path": "embedded", "prompt": str(tmp_path / "q.txt"), "options": {"yes": 1, "no": 0}}
    judged = written(rows, {**judge, "least": 0.0}, tmp_path)
    assert {row["extracted"] for row in judged} <= {"yes", "no"} and "yes" in judged[0]["reason"]
    silent = written(rows, {**judge, "least": 1.0}, tmp_path)
    assert {row["status"] for row in silent} == {"error"} and "the judge answers none of yes, no" in silent[0]["reason"]


def test_what_is_no_scorer_is_refused_in_one_line(rows, tmp_path):
    for spec, told in (
        ({"use": "reward_model", "path": "embedded"}, "verifier: .* is no reward model"),
        ({"use": "reward_model", "stage": "scores"}, "has its model here by a path"),
        ({"use": "reward_model", "path": "embedded", "x": 1}, "verifier.x: unknown key"),
    ):
        with pytest.raises(RecipeError, match=told):
            verify(Path(rows(*ROWS)), spec, out=tmp_path / "out.jsonl")


def test_a_row_without_a_prompt_is_an_error_where_the_prompt_is_read(folder, rows, tmp_path):
    (tmp_path / "q.txt").write_text("{completion}\nRight?")
    judge = {"use": "judge", "path": "embedded", "prompt": str(tmp_path / "q.txt"), "options": {"yes": 1, "no": 0}}
    for spec, told in (({"use": "reward_model", "path": folder}, "no prompt, which the scorer reads"), (judge, "")):
        verify(Path(rows({"completion": "2"}, {"prompt": "", "completion": "2"})), spec, out=tmp_path / "out.jsonl")
        judged = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert all(told in row["reason"] and ("no prompt" in row["reason"]) == bool(told) for row in judged)


def test_a_judge_that_cannot_be_asked_is_one_line(folder, rows, tmp_path):
    (tmp_path / "q.txt").write_text("{prompt} {completion}\nRight?")
    judge = {"use": "judge", "prompt": str(tmp_path / "q.txt"), "options": {"yes": 1, "no": 0}}
    for more, kind, told in (
        ({"path": folder}, RecipeError, "verifier: .* is a reward model"),
        ({"path": "embedded", "options": {"1": 1, "12": 0}}, RecipeError, "'12' begins with the tokens of '1'"),
        ({"server": "http://127.0.0.1:9", "model": "m"}, RunError, "nothing listens there"),
    ):
        with pytest.raises(kind, match=told):
            verify(Path(rows(*ROWS)), judge | more, out=tmp_path / "out.jsonl")


def test_a_classifier_of_several_labels_needs_one_named(rows, tmp_path):
    config = models.load_config(str(embedded.path()))
    config.num_labels, config.id2label = 3, {0: "bad", 1: "fair", 2: "good"}
    config.label2id, config.pad_token_id = {"bad": 0, "fair": 1, "good": 2}, 0
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "m")
    models.load_tokenizer(str(embedded.path())).save_pretrained(tmp_path / "m")
    spec = {"use": "reward_model", "path": str(tmp_path / "m")}
    with pytest.raises(RecipeError, match="a classifier of 3 labels; name one of bad, fair, good"):
        written(rows, spec, tmp_path)
    sums = [
        sum(
            float(written(rows, {**spec, "label": name}, tmp_path)[at]["extracted"]) for name in ("bad", "fair", "good")
        )
        for at in range(2)
    ]
    assert sums == pytest.approx([1, 1], abs=1e-4)
