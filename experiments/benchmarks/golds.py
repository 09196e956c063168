r"""Every reference answer of the usual math sets under the verifier `math`, and GSM8K's labelled solutions.

    python experiments/benchmarks/golds.py --data DIR [--json FILE] [--failed FILE]

`DIR` holds a folder a set (gsm8k, math500, aime24, amc23, minerva_math, olympiadbench, svamp, asdiv, mawps) as they lie
in openai/grade-school-math, openai/prm800k and QwenLM/Qwen2.5-Math's evaluation. A gold is *proved* where its reference
and every way of writing it that `r1lab.audit.metamorphic` knows score 1; a perturbed one must not.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bars import finish, line, row

from r1lab.audit.audit import audit
from r1lab.audit.dataset import audit_golds
from r1lab.errors import RecipeError
from r1lab.recipe import SourceConfig, WorkersConfig
from r1lab.rollout.problems import load_problems
from r1lab_verifiers import resolve

SETS = {
    "gsm8k train": {"path": "gsm8k", "columns": {"prompt": "question"}, "answer_format": "hash"},
    "gsm8k test": {"path": "gsm8k", "split": "test", "columns": {"prompt": "question"}, "answer_format": "hash"},
    "math500": {"path": "math500", "split": "test", "columns": {"prompt": "problem"}},
    "aime24": {"path": "aime24", "split": "test", "columns": {"prompt": "problem"}},
    "amc23": {"path": "amc23", "split": "test", "columns": {"prompt": "problem"}},
    "minerva_math": {
        "path": "minerva_math",
        "split": "test",
        "columns": {"prompt": "problem", "answer": "solution"},
        "answer_format": "boxed",
    },
    "olympiadbench": {
        "path": "olympiadbench",
        "split": "test",
        "columns": {"prompt": "question", "answer": "final_answer"},
    },
    "svamp": {"path": "svamp", "split": "test", "columns": {"prompt": "{Body}. {Question}", "answer": "Answer"}},
    "asdiv": {"path": "asdiv", "split": "test", "columns": {"prompt": "{body} {question}"}},
    **{
        f"mawps {name}": {"path": f"mawps/{name}.jsonl", "columns": {"prompt": "input", "answer": "target"}}
        for name in ("addsub", "multiarith", "singleeq", "singleop")
    },
}
SOLUTIONS = "gsm8k/example_model_solutions.jsonl"


def of_set(name: str, data: Path, workers: WorkersConfig) -> tuple[list[dict], list[dict]]:
    """A set's rows, and every check of it that failed."""
    source = SourceConfig(**SETS[name] | {"path": str(data / SETS[name]["path"])})
    found = audit_golds(source, "math", workers=workers).figures
    describe = resolve("math").build().target.describe
    texts = [each.answer for each in load_problems(source, name, "math", Path()) if describe(each.answer) == "text"]
    problems = found["problems"]
    unproved = {each["id"] for each in found["failed"] if each["wanted"] == 1}
    accepted = [each for each in found["failed"] if each["wanted"] == 0]
    perturbed = sum(each["n"] for each in found["checks"].values() if each["wanted"] == 0)
    return [
        row(f"{name}: proved", 1 - len(unproved) / problems, ">=", 0.99, problems=problems, kinds=found["kinds"]),
        row(f"{name}: perturbed accepted", len(accepted), "<=", 0, perturbed=perturbed),
        row(f"{name}: not text", found["parsed"]["value"] if found["parsed"] else 0.0, ">=", None, texts=texts),
    ], [each | {"set": name} for each in found["failed"]]


def labelled(path: Path) -> Iterator[dict]:
    """GSM8K's solutions of four models, one row each."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines()):
        problem = json.loads(text)
        gold = problem["ground_truth"].rpartition("A:")[2].strip()
        for model, given in problem.items():
            if isinstance(given, dict):
                yield {
                    "id": f"{number}/{model}", "completion": given["solution"], "answer": gold,
                    "expected": given["is_correct"], "type": model,
                }  # fmt: skip


def of_solutions(path: Path, workers: WorkersConfig) -> tuple[list[dict], list[dict]]:
    """Verdicts beside the labels, the answer standing after `A:`."""
    with tempfile.TemporaryDirectory() as folder:
        cases = Path(folder) / "cases.jsonl"
        cases.write_text("".join(json.dumps(each) + "\n" for each in labelled(path)))
        found = audit(cases, "math", settings={"after": "A:"}, workers=workers).figures
    figures = found["verifiers"]["math after=A:"]
    wrong = figures["rows"] - figures["right"]["count"]
    return [row("gsm8k solutions: not as labelled", wrong, "<=", 0, rows=figures["rows"])], [
        each | {"set": "gsm8k solutions"} for each in figures["judged_wrongly"]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--failed", type=Path, help="write every check that failed there, as JSONL")
    given = parser.parse_args()
    workers, rows, failed = WorkersConfig(), [], []
    try:
        for name in SETS:
            found, bad = of_set(name, given.data, workers)
            rows, failed = rows + found, failed + bad
        found, bad = of_solutions(given.data / SOLUTIONS, workers)
    except (RecipeError, OSError) as error:
        sys.exit(f"golds: {error}")
    rows, failed = rows + found, failed + bad
    for each in rows:
        print(line(each, 36))
    if given.failed:
        given.failed.write_text("".join(json.dumps(each) + "\n" for each in failed))
    return finish(rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
