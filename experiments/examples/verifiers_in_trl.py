"""Judge with this project's verifiers in TRL's trainer: killable workers, deadlines, a sandbox for programs.

    python experiments/examples/verifiers_in_trl.py [FOLDER]

Needs TRL (extra `benchmark`). A completion that cannot be judged gets None, which TRL leaves out of its group's mean.
"""

import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import r1lab_verifiers
from r1lab import embedded
from r1lab_data import tasks

if __name__ == "__main__":
    problems = tasks.generate("addition", size=32, seed=0, split="train", source="sums", settings={"digits": 2})
    rows = [{"prompt": f"Q: {problem.prompt}\nA:", "solution": problem.answer} for problem in problems]
    trainer = GRPOTrainer(
        model=str(embedded.path()),
        reward_funcs=[
            r1lab_verifiers.reward("numeric", answer="solution", deadline=2.0),
            r1lab_verifiers.reward("format"),
        ],
        args=GRPOConfig(
            output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/verifiers_in_trl",
            reward_weights=[1.0, 0.1],
            num_generations=8,
            per_device_train_batch_size=16,
            max_completion_length=32,
            max_steps=1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=False,
        ),
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
    for row in trainer.state.log_history:
        print({key: value for key, value in row.items() if key.startswith("rewards/")})
