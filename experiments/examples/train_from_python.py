"""Train a model from Python, read what the run left behind, and ask the trained model something.

    python experiments/examples/train_from_python.py [FOLDER]

The same call again goes on where the run stands; a finished run is only read.
"""

import sys

from transformers import pipeline

import r1lab

RECIPE = {
    "name": "addition",
    "model": "embedded",  # or a Hugging Face folder or hub id
    "data": {"task": "addition", "size": 1024, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"},
    "max_new_tokens": 48,
    "prompts_per_step": 8,
    "group_size": 8,
    "learning_rate": 1e-4,
    "threads": 1,
    "steps": 4,
    "eval": {"sets": {"held_out": {"task": "addition", "split": "eval", "size": 64, "settings": {"digits": 2}}}},
}

if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "runs/train_from_python"
    run = r1lab.train(RECIPE, f"out={folder}")  # more overrides: "seed=1", "objective.preset=grpo"
    for row in run.metrics:  # one row a step, row 0 is the evaluation before it; the file is metrics.jsonl
        print(row["step"], row.get("reward/mean"), row.get("eval/held_out/avg"))
    answer = pipeline("text-generation", str(run.model))("Q: 12+34\nA:", max_new_tokens=48)  # an ordinary HF folder
    print(repr(answer[0]["generated_text"]))
