"""Compare two regimes, paired by problem and seed, at one tiny budget: R1-Zero beside SFT followed by RL.

    python experiments/examples/compare_regimes.py [FOLDER]

Two seeds and 8,000 tokens a run show how it is done and separate nothing: such short runs end a few per cent apart,
and over 2 % the answer says that it does not rank them. The shipped recipes `zero`, `sft_then_rl`, `sft_only` and
`rejection_sft` ask the same at 600,000 tokens.
"""

import sys

import r1lab

TASK = {"task": "addition", "settings": {"digits": 2}}
SHARED = {
    "prompt": {"format": "Q: {prompt}\nA:"},
    "data": {**TASK, "size": 256},
    "max_new_tokens": 32,
    "prompts_per_step": 8,
    "group_size": 4,
    "learning_rate": 1e-4,
    "optimizer": {"warmup_updates": 0},
    "threads": 1,
    "stop": {"max_tokens": 8000},  # the whole run, all stages together
    "eval": {"sets": {"held_out": {**TASK, "split": "eval", "size": 32}}},
}
ZERO = {"name": "zero", **SHARED}
WARM = {"name": "sft_rl", **SHARED, "stages": [{"kind": "sft", "steps": 2}, {"kind": "rl"}]}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/compare_regimes"
    comparison = r1lab.compare([ZERO, WARM], seeds=2, out=folder)
    print(comparison.summary["answer"])
    for name, regime in comparison.summary["regimes"].items():
        print(name, regime["score"], regime["tokens"])
    print(comparison.page)
