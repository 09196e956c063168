"""Make the runs whose metrics stand in `recorded/`: the embedded model, trained to fail in one way each. No test runs
it; what the rules say of the rows is in test_recorded.py.

    cd tests/health && python failing_runs.py FOLDER [NAME ...]           # a few minutes on one core
    cd tests/health && python failing_runs.py --keep METRICS.jsonl NAME   # the rows of another run
"""

import json
import sys
import time
from pathlib import Path

import r1lab
from r1lab.engines.local.engine import LocalEngine
from r1lab_verifiers import Verdict

RECORDED = Path(__file__).parent / "recorded"
KEPT = (
    "stage", "step", "reward/mean", "reward/std", "reward/part/score", "pass/share", "completion/mean",
    "completion/truncated", "group/zero_variance", "second/judged", "second/lenient", "second/strict", "mismatch/mean",
    "update/grad_norm", "policy/entropy",
)  # fmt: skip

ALWAYS = ("error", "timeout", "abstained")


def long_is_good(completion: str, answer: str) -> float:
    return min(1.0, len(completion) / 300)


def short_is_good(completion: str, answer: str) -> float:
    return max(0.0, 1 - len(completion) / 40)


def any_digit(completion: str, answer: str) -> bool:
    """Lenient: the first digit of the answer is somewhere in the completion."""
    return answer[0] in completion


def hangs_sometimes(completion: str, answer: str) -> bool:
    if completion.strip().endswith(("1", "2", "3")):
        time.sleep(60)
    return answer in completion


def abstains_sometimes(completion: str, answer: str) -> bool | None:
    return None if answer.endswith(("1", "2", "3")) else answer in completion


def says_error(completion: str, answer: str) -> Verdict | bool:
    if answer.endswith(("1", "2", "3")):
        return Verdict(None, "error", reason="the service is down")
    return answer in completion


class StaleEngine(LocalEngine):
    """Takes the weights once and no update's: what an engine does whose weight transfer is broken."""

    def sync(self, named_tensors, version: int) -> None:
        if self.version < 0:
            super().sync(named_tensors, version)
        self.version = version


BASE = {
    "name": "failing",
    "model": "embedded",
    "data": {"task": "addition", "size": 512, "settings": {"digits": 3}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 64,
    "prompts_per_step": 8,
    "group_size": 8,
    "learning_rate": 1e-4,
    "optimizer": {"warmup_updates": 0},
    "steps": 14,
    "print_samples": 0,
    "checkpoint_every": 100,
    "threads": 1,
}
HELD_OUT = {"every": 4, "sets": {"held_out": {"task": "addition", "split": "eval", "size": 128}}}
RUNS = {
    "no_signal": {"data": {"task": "multiplication", "size": 512, "settings": {"digits": 3}}},
    "all_solved": {"verifier": {"use": "regex", "pattern": "."}},
    "truncation": {"max_new_tokens": 12},
    "engine_gap": {"engine": {"kind": "failing_runs:StaleEngine"}, "learning_rate": 1e-3},
    "second_verifier": {"verifier": "failing_runs:any_digit", "second_verifier": {"use": "numeric", "share": 1.0}},
    "held_out": {"reward": {"score": 0.0, "failing_runs:short_is_good": 1.0}, "eval": HELD_OUT, "learning_rate": 3e-4},
    "entropy": {"objective": {"entropy": {"coef": -1.0}}, "learning_rate": 1e-3},
    "length": {
        "reward": {"score": 0.0, "failing_runs:long_is_good": 1.0}, "max_new_tokens": 256, "steps": 40,
        "learning_rate": 3e-4,
    },
    "timeouts": {
        "verifier": "failing_runs:hangs_sometimes", "workers": {"deadline": 0.1}, "steps": 5, "prompts_per_step": 2,
        "group_size": 4,
    },
    "errors": {"verifier": "failing_runs:says_error", "max_error_rate": 1.0, "steps": 6},
    "abstained": {"verifier": "failing_runs:abstains_sometimes", "steps": 6},
}  # fmt: skip


def keep(rows: list[dict], name: str) -> None:
    """Write what the rules read, six digits each."""
    with (RECORDED / f"{name}.jsonl").open("w") as file:
        for row in rows:
            kept = {key: value for key, value in row.items() if _is_kept(key, value)}
            short = {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in kept.items()}
            file.write(json.dumps(short) + "\n")


def _is_kept(key: str, value) -> bool:
    ends = ("/avg", "/low", "/high")
    return (
        key in KEPT
        or (key.startswith("verdict/") and (bool(value) or key.endswith(ALWAYS)))
        or (key.startswith("eval/") and key.endswith(ends))
    )


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    if sys.argv[1] == "--keep":
        keep([json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()], sys.argv[3])
    else:
        for name in sys.argv[2:] or RUNS:
            keep(r1lab.train({**BASE, **RUNS[name]}, f"out={sys.argv[1]}/{name}").metrics, name)
