"""The worker of TRL's side: its `GRPOTrainer` as it is, with the settings that make it do r1lab's work.

What is replaced: nothing but the completions, and those only where gradients are compared. Written against TRL 1.16.
"""

import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from step_work import BETAS, CLIP_HIGH, CLIP_LOW, EPSILON, LEARNING_RATE, SEED, Line, Work, peak_memory_gib, reward
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


def serve(line: Line, work: Work) -> None:
    """Answer until the other end is closed."""
    torch.set_num_threads(work.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer_of(line, work, folder).train()


class Trainer(GRPOTrainer):
    """TRL's trainer with clocks around its phases and a slot for completions made elsewhere."""

    injected: list[list[int]] | None = None
    prompt_ids: list[list[int]] = []
    rewards: list[float] = []
    num_tokens = 0
    begun = rolled = scored = 0.0
    """When the rollout began, when it was done, and when its rewards and advantages were."""

    def _generate_and_score_completions(self, inputs):
        self.begun = time.perf_counter()
        made = super()._generate_and_score_completions(inputs)
        self.scored = time.perf_counter()
        return made

    def _generate(self, prompts):
        made = super()._generate(prompts)
        self.rolled = time.perf_counter()
        return made

    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        if self.injected is None:
            completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        else:
            completion_ids, logprobs = self.injected, None
        self.prompt_ids, self.num_tokens = prompt_ids, sum(len(ids) for ids in completion_ids)
        return completion_ids, logprobs

    def drawn(self, completions, trainer_state, **_) -> list[float]:
        """The reward function."""
        self.rewards = [reward(trainer_state.global_step, index) for index in range(len(completions))]
        return self.rewards


class Turns(TrainerCallback):
    """Every step waits for its turn; it lasts from there to the optimizer's step, fetching its prompts included."""

    def __init__(self, line: Line):
        self.line, self.trainer, self.message = line, None, None

    def on_train_begin(self, args, state, control, **_):
        self.line.write(ready=True)
        self.wait()

    def wait(self) -> None:
        """Until something else than the peak memory is asked for; SystemExit where the other end is closed."""
        self.message = self.line.read()
        while self.message and self.message["do"] == "end":
            self.line.write(peak_memory_gib=peak_memory_gib())
            self.message = self.line.read()
        if self.message is None:
            raise SystemExit(0)
        self.trainer.injected = self.message.get("completion_ids")
        self.start = time.perf_counter()

    def on_pre_optimizer_step(self, args, state, control, **_):
        if self.message["do"] == "prove":
            weights = self.trainer.accelerator.unwrap_model(self.trainer.model).named_parameters()
            save_file({name: weight.grad for name, weight in weights}, Path(self.message["gradients"]))

    def on_step_end(self, args, state, control, **_):
        ended, trainer = time.perf_counter(), self.trainer
        if self.message["do"] == "prove":
            self.line.write(prompt_ids=trainer.prompt_ids, rewards=trainer.rewards)
        else:
            self.line.write(
                rollout=trainer.rolled - trainer.begun,
                score=trainer.scored - trainer.rolled,
                update=ended - trainer.scored,
                rest=trainer.begun - self.start,
                whole=ended - self.start,
                tokens=trainer.num_tokens,
            )
        self.wait()


def trainer_of(line: Line, work: Work, output: str) -> Trainer:
    turns = Turns(line)

    def drawn(completions, trainer_state, **_):
        return turns.trainer.drawn(completions, trainer_state)

    turns.trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(work.folder, dtype=torch.float32),
        reward_funcs=drawn,
        args=settings_of(work, output),
        train_dataset=Dataset.from_dict({"prompt": list(work.prompts)}),
        processing_class=AutoTokenizer.from_pretrained(work.folder, padding_side="left"),
        callbacks=[turns],
    )
    return turns.trainer


def settings_of(work: Work, output: str) -> GRPOConfig:
    """r1lab's default objective in TRL's words: rewards less their mean, one mean over all tokens, no reference."""
    return GRPOConfig(
        output_dir=output,
        seed=SEED,
        max_steps=work.steps,
        per_device_train_batch_size=work.micro_batch,
        gradient_accumulation_steps=work.num_sequences // work.micro_batch,
        num_generations=work.group_size,
        max_completion_length=work.max_new_tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        shuffle_dataset=False,
        loss_type="dapo",
        scale_rewards="none",
        beta=0.0,
        epsilon=CLIP_LOW,
        epsilon_high=CLIP_HIGH,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        adam_epsilon=EPSILON,
        weight_decay=0.0,
        max_grad_norm=work.grad_clip,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
