"""Runs' folders as a comparison reads them."""

import json
from pathlib import Path

import pytest

import r1lab
from r1lab.evaluation.folder import write_rows
from r1lab.evaluation.model_completer import completion_of
from r1lab.evaluation.runner import row_of
from r1lab.run.folder import evaluation_table
from r1lab_verifiers.verdict import Verdict


@pytest.fixture
def folder_of_run(tmp_path, make_rollout):
    """folder_of_run(name, seed, right_N) -> a run's folder; outcomes are 0, 1, or None for an error of ours."""

    def table(path: Path, right_N, texts, problem: str) -> None:
        rows = []
        for draw, right in enumerate(right_N):
            status = "error" if right is None else "correct" if right else "wrong"
            verdict = Verdict(None if right is None else float(right), status, reason="as the test says")
            completion = completion_of(make_rollout((5, 6), (7, 8), draw=draw, text=texts[draw % len(texts)]))
            rows.append(row_of(completion, verdict, None, f"{problem} {completion.problem_id}"))
        write_rows(path, rows, "x")

    def write(
        name, seed, right_N, *, tokens=1000, texts=("42",), problem="Q:", source="abc", manifest=None, far_N=None,
        before=(), train_verifier=None, **knobs
    ) -> Path:  # fmt: skip
        """`before` are the outcomes of the evaluations at steps 0 and 1, `far_N` those of a shifted set at the end;
        `knobs` are of the evaluation."""
        folder, mean = tmp_path / f"{name}-{seed}", sum(filter(None, right_N)) / len(right_N)
        table(evaluation_table(folder, "rl", 2, "held"), right_N, texts, problem)
        for step, outcomes in enumerate(before):
            table(evaluation_table(folder, "rl", step, "held"), outcomes, texts, problem)
        lines = [
            {"stage": "rl", "step": step, "tokens/budget": tokens * step // 2, "flops/update": 2e9 * step}
            | {"time/total": 1.5, "eval/held/avg": mean * step / 2, "eval/held/n": 1}
            for step in range(3)
        ]
        if far_N is not None:
            table(evaluation_table(folder, "rl", 2, "far"), far_N, texts, "far")
            lines[2] |= {"eval/far/avg": sum(far_N) / len(far_N)}
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        sets = {"held": {"task": "addition", "split": "eval"}}
        sets |= {"far": {"task": "addition", "split": "eval", "shift": True}} if far_N is not None else {}
        stage = {"name": "rl", "kind": "rl", "max_new_tokens": 64, "stop": {"max_tokens": tokens},
                 "train_verifier": train_verifier}  # fmt: skip
        made = {
            "name": name,
            "hash": f"hash of {name}",
            "identity": {"seed": seed, "preset": name},
            "recipe": {"stages": [stage | {"eval": {"n": 1, "temperature": 1.0, "sets": sets} | knobs}]},
            "verifiers": {"exact": {"source": source, "settings": {}}},
            "packages": {"r1lab": r1lab.__version__},
            "finished": True,
        }
        (folder / "manifest.json").write_text(json.dumps(made | (manifest or {})))
        return folder

    return write
