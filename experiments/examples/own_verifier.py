"""Train with a verifier of one's own (`parity.py`), and pay a little for a second one.

    python experiments/examples/own_verifier.py [FOLDER]

Verifiers run in worker processes, which import them by name: so they stand in a module, never in the script itself.
"""

import sys

from parity import parity

import r1lab

RECIPE = {
    "name": "parity",
    "data": {"task": "addition", "size": 256},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 32,
    "prompts_per_step": 8,
    "learning_rate": 1e-4,
    "threads": 1,
    "steps": 3,
    "reward": {"score": 1.0, "brief": {"use": "parity:Brief", "words": 3, "weight": 0.1}},
}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/own_verifier"
    run = r1lab.train(RECIPE, f"out={folder}", verifier=parity)
    for row in run.metrics:
        print(row["step"], {key: row[key] for key in row if key.startswith("reward/")})
