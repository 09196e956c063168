"""The worker of r1lab's side: the parts that `r1lab train` uses, in the order of `r1lab.loop`.

Not timed on either side: verifiers (the rewards are drawn), the journal, metrics and checkpoints.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from step_work import BETAS, CLIP_HIGH, CLIP_LOW, EPSILON, LEARNING_RATE, SEED, Line, Work, peak_memory_gib, reward

from r1lab import engines, fetch, loop, models, objective
from r1lab.feed import Feed
from r1lab.ledger import Ledger
from r1lab.policy import Policy
from r1lab.prepare import problems_of
from r1lab.prompts import Renderer
from r1lab.recipe import RlStage
from r1lab.records import Rollout, Settled
from r1lab.reward import Reward
from r1lab.sampler import Sampler
from verifiers.verdict import Verdict

NUM_PROBLEMS = 4096
CACHE = Path.home() / ".cache" / "r1lab"


def serve(line: Line, work: Work) -> None:
    """Answer until the other end is closed."""
    torch.set_num_threads(work.threads)
    ours = Ours(work)
    line.write(ready=True, folder=ours.folder, prompts=ours.prompts())
    while message := line.read():
        if message["do"] == "prove":
            line.write(**ours.prove(Path(message["gradients"])))
        elif message["do"] == "step":
            line.write(**ours.step())
        else:
            line.write(peak_memory_gib=peak_memory_gib())


class Ours:
    """A stage of r1lab without its run folder."""

    def __init__(self, work: Work):
        self.work, self.folder = work, work.folder or located(work.model)
        self.stage = stage = stage_of(work)
        self.objective = objective.build(
            stage.objective, max_new_tokens=stage.max_new_tokens, truncated=stage.truncated, group_size=stage.group_size
        )
        self.policy = Policy(
            self.folder, stage, total_updates=work.steps, temperature=stage.temperature, needs_ref=False
        )
        ((name, source),) = stage.data.items()
        problems = problems_of(source, name, stage, Path.cwd())
        self.renderer = Renderer(self.policy.tokenizer, format=stage.prompt.format)
        self.sampler = Sampler({name: problems}, [1.0], SEED)
        self.feed = Feed(
            stage=stage,
            seed=SEED,
            sampler=self.sampler,
            problems={problem.id: problem for problem in problems},
            renderer=self.renderer,
            engine=engines.make(
                engines.resolve(stage.engine.kind),
                self.policy.model,
                self.policy.tokenizer,
                max_batch=stage.engine.max_batch,
                text_of=self.renderer.verifier_text,
            ),
            judge=self.judge,
            reward=Reward(stage.reward, max_new_tokens=stage.max_new_tokens),
            objective=self.objective,
        )
        self.feed.publish(self.policy, self.policy.version)

    def prompts(self) -> list[str]:
        """Texts of every step's prompts, in the order in which they are drawn."""
        draws = self.sampler.draw(0, self.work.num_problems * self.work.steps, 1)
        return [self.renderer.prompt_text(draw.problem) for draw in draws]

    def judge(self, rollout: Rollout, problem, verifier: str = "") -> Future:
        """The reward drawn for the rollout's place in its step."""
        number, index = rollout.request.id.draw, rollout.request.id.index
        step, place = divmod(number, self.work.num_problems)
        verdict: Future = Future()
        verdict.set_result(Verdict(reward(step, place * self.work.group_size + index), "partial"))
        return verdict

    def step(self) -> dict:
        """One step; seconds of its phases and the tokens of its completions."""
        start = time.perf_counter()
        block = self.feed.block(self.work.num_problems)
        rolled = time.perf_counter()
        self.learn(block)
        updated = time.perf_counter()
        self.feed.publish(self.policy, self.policy.version)
        ended = time.perf_counter()
        seconds = {"rollout": rolled - start, "update": updated - rolled, "sync": ended - updated}
        return {**seconds, "whole": ended - start, "tokens": sum(len(ids) for ids in completions(block))}

    def learn(self, block: Sequence[Settled]) -> None:
        """The block's one update, as the loop makes it."""
        stage, ledger = self.stage, Ledger()
        batches = loop.cut(block, self.objective, stage, self.policy.version + 1)
        batches = loop.scored(batches, self.objective, self.policy, stage, ledger)
        loop.learn(batches, self.policy, self.objective, stage, ledger)
        self.feed.observe(block)

    def prove(self, path: Path) -> dict:
        """Sample a block, take one update on it and leave its gradients at `path`."""
        block = self.feed.block(self.work.num_problems)
        self.learn([without_engine(settled) for settled in block])
        save_file({name: weight.grad for name, weight in self.policy.model.named_parameters()}, path)
        members = [member for settled in block for member in settled.kept.members]
        return {
            "prompt_ids": [list(member.rollout.request.prompt_ids) for member in members],
            "completion_ids": completions(block),
            "rewards": [member.reward for member in members],
        }


def completions(block: Sequence[Settled]) -> list[list[int]]:
    """Token ids of a block's completions, in draw order."""
    return [list(member.rollout.completion_ids) for settled in block for member in settled.kept.members]


def without_engine(settled: Settled) -> Settled:
    """The group with log-probabilities of the engine that say nothing: the objective must not read them."""
    members = tuple(
        replace(member, rollout=replace(member.rollout, engine_logprobs=np.zeros_like(member.rollout.engine_logprobs)))
        for member in settled.kept.members
    )
    return replace(settled, kept=replace(settled.kept, members=members))


def stage_of(work: Work) -> RlStage:
    """The recipe: the default objective without a correction for the sampler, which TRL has for vLLM only."""
    return RlStage(
        name="rl",
        data=source_of(work.model),
        prompt={"format": "Q: {prompt}\nA:"} if work.model == "embedded" else {},
        objective={"preset": "default", "clip_low": CLIP_LOW, "clip_high": CLIP_HIGH, "correction": "none"},
        optimizer={
            "warmup_updates": 0,
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "epsilon": EPSILON,
            "grad_clip": work.grad_clip,
        },
        learning_rate=LEARNING_RATE,
        precision="float32",
        prompts_per_step=work.num_problems,
        group_size=work.group_size,
        max_new_tokens=work.max_new_tokens,
        micro_batch_tokens=work.micro_batch_tokens,
        threads=work.threads,
        steps=work.steps,
    )


def source_of(model: str) -> dict:
    """Three-digit additions for the embedded model, GSM8K for the other."""
    if model == "embedded":
        return {"task": "addition", "size": NUM_PROBLEMS, "settings": {"digits": 3}}
    shared = os.environ.get("R1LAB_SHARED")
    where = {"path": f"{shared}/data/gsm8k/train.jsonl"} if shared else {"path": "openai/gsm8k", "config": "main"}
    return {**where, "columns": {"prompt": "question"}, "answer_format": "hash", "limit": NUM_PROBLEMS}


def located(model: str) -> str:
    """The model's folder; SmolLM2 is fetched into the cache where it is not there yet."""
    if model == "embedded":
        return models.locate(model)
    folder = CACHE / model
    return str(folder if folder.is_dir() and any(folder.iterdir()) else fetch.fetch(model, folder))
