"""An option that nothing would read beside another one is refused, and names what it goes with."""

import pytest

REFUSED = {
    "train zero --explain kl": "RECIPE: is not read beside --explain",
    "train --explain kl --dry-run": "--dry-run: is not read beside --explain",
    "train --explain kl --processes 2": "--processes: is not read beside --explain",
    "train zero --full": "--full: goes with --dry-run",
    "train zero --device h200": "--device: goes with --dry-run",
    "convert verl run.sh --processes 2": "--processes: nothing of verl's is counted by process",
    "audit cases.jsonl --verifier exact --split test": "--split: goes with --dataset; of labelled rows --where",
    "audit cases.jsonl --verifier exact --answer-format hash": "--answer-format: goes with --dataset",
    "audit cases.jsonl --verifier exact --limit 3": "--limit: goes with --dataset",
    "audit cases.jsonl --verifier exact --config main": "--config: goes with --dataset",
    "audit --verifier exact --attack --limit 3": "--limit: goes with --dataset; --attack without one",
    "audit --verifier exact --attack --columns answer=a": "--columns: goes with --dataset; --attack without one",
    "audit --dataset task:addition --answer-format hash": "columns, config and answer_format are about a dataset's",
    "eval --on addition --completions c.jsonl --temperature 0": "--temperature: --completions are there already",
    "eval --on addition --completions c.jsonl --stop x": "--stop: --completions are there already",
    "eval --on addition --completions c.jsonl --system x": "--system: --completions are there already",
    "eval --on addition --completions c.jsonl --template a=1": "--template: --completions are there already",
    "eval --on addition --completions c.jsonl --threads 2": "--threads: --completions are there already",
    "eval --on addition --completions c.jsonl --key-env K": "--key-env: --completions are there already",
    "eval M --on addition --server http://localhost:1 --engine local": "--engine: the server has the model",
    "eval M --on addition --server http://localhost:1 --max-batch 8": "--max-batch: the server has the model",
    "eval embedded --on addition --key-env K": "--key-env: goes with --server",
    "probe --on addition --completions c.jsonl --top-p 0.9": "--top-p: --completions are there already",
    "eval embedded --on addition --answer-format hash": "columns, config and answer_format are about a dataset's",
    "eval embedded --on x.jsonl --verifier exact --with digits=2": "settings are a task's difficulty",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_nothing_would_read_is_refused(line, command):
    code, out, err = command(*line.split())
    assert code == 2 and not out and REFUSED[line] in err and err.count("\n") == 1, err


TAKEN = ["train --explain kl", "train zero --dry-run --full", "audit --dataset task:addition --split eval --limit 2"]


@pytest.mark.parametrize("line", TAKEN)
def test_what_is_read_together_is_taken(line, command):
    code, _, err = command(*line.split())
    assert code == 0, err
