"""The worker of r1lab's side: where steps are timed, `r1lab.loop` itself, run as `r1lab train` runs it.

So its step verifies (what is paid is drawn all the same), writes its journal and records its metrics, which TRL's does
not do. Only the proof puts the parts together by hand.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from step_work import BETAS, CLIP_HIGH, CLIP_LOW, EPSILON, LEARNING_RATE, SEED, Line, Work, peak_memory_gib, reward

from r1lab import engines, loop, objective, pipeline
from r1lab.engines.sync import publish
from r1lab.feed import Feed
from r1lab.hub import small_models
from r1lab.policy import location
from r1lab.policy.policy import Policy
from r1lab.recipe import RlStageConfig
from r1lab.recipe.load import Plan
from r1lab.records import Rollout, Settled
from r1lab.rollout.renderer import Renderer
from r1lab.rollout.reward import PARTS, Reward
from r1lab.rollout.sampler import Sampler
from r1lab.rollout.verification import SCORE
from r1lab.run.ledger import Ledger
from r1lab.run.progress import Progress
from r1lab.seeds import derive
from r1lab.stages.check import problems_of
from r1lab_verifiers.verdict import Verdict

NUM_PROBLEMS = 4096
LONGEST = {"embedded": None, "smollm2": 384}
"""Tokens of prompt and completion that vLLM keeps keys for: of whole contexts they would take 9 GB."""
CACHE = Path.home() / ".cache" / "r1lab"


def serve(line: Line, work: Work) -> None:
    """Answer until the other end is closed: the proof where the prompts are not known yet, else steps."""
    PARTS["drawn"] = lambda rollout: drawn(rollout, work)
    if work.prompts:
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan("step", SEED, Path(folder) / "run", (stage_of(work),), Path.cwd())
            pipeline.train(plan, Turns(line))
    torch.set_num_threads(work.threads)
    ours = Ours(work)
    line.write(ready=True, folder=ours.folder, prompts=ours.prompts())
    while message := line.read():
        line.write(**ours.prove(Path(message["gradients"])))


def drawn(rollout: Rollout, work: Work) -> float:
    """The part of the reward that is paid: the one drawn for the rollout's place in its step."""
    step, place = divmod(rollout.request.id.draw, work.num_problems)
    return reward(step, place * work.group_size + rollout.request.id.index)


class Turns(Progress):
    """The loop's console, where every step waits for its turn."""

    def __init__(self, line: Line):
        super().__init__(quiet=True)
        self.line, self.sampled, self.start, self.gaps = line, 0, 0.0, []

    def stage(self, name: str, steps: int | None, budget: int | None) -> None:
        self.line.write(ready=True)
        self.wait()

    def step(self, row: dict) -> None:
        whole = time.perf_counter() - self.start
        self.gaps.append(row["mismatch/mean"])
        seconds = {phase: row[f"time/{phase}"] for phase in ("rollout", "score", "update")}
        tokens, self.sampled = row["tokens/sampled"] - self.sampled, row["tokens/sampled"]
        self.line.write(**seconds, rest=whole - sum(seconds.values()), whole=whole, tokens=tokens)
        self.wait()

    def wait(self) -> None:
        """Until a step is asked for; SystemExit where the other end is closed."""
        while message := self.line.read():
            if message["do"] == "step":
                self.start = time.perf_counter()
                return
            gap = sum(self.gaps) / len(self.gaps)
            self.line.write(peak_memory_gib=peak_memory_gib(), rollout_logp_error=gap)
        raise SystemExit(0)


class Ours:
    """The parts of a stage without its run folder: what the proof needs."""

    def __init__(self, work: Work):
        self.folder = work.folder or located(work.model)
        self.work, self.stage = work, stage_of(replace(work, folder=self.folder))
        stage = self.stage
        self.objective = objective.build(
            stage.objective, max_new_tokens=stage.max_new_tokens, truncated=stage.truncated, group_size=stage.group_size
        )
        self.policy = Policy(
            self.folder, stage, total_updates=work.steps, temperature=stage.temperature, needs_ref=False
        )
        ((name, source),) = stage.data.items()
        problems = problems_of(source, name, stage, Path.cwd())
        self.renderer = Renderer(self.policy.tokenizer, format=stage.prompt.format)
        self.sampler = Sampler({name: problems}, [1.0], derive(SEED, "sampler"))
        self.feed = Feed(
            stage=stage,
            seed=SEED,
            sampler=self.sampler,
            problems={problem.id: problem for problem in problems},
            renderer=self.renderer,
            engine=engines.make(
                "local",
                self.policy.model,
                self.policy.tokenizer,
                max_batch=stage.engine.max_batch,
                text_of=self.renderer.verifier_text,
            ),
            verification=self,
            rewards={name: Reward(stage.reward, max_new_tokens=stage.max_new_tokens)},
            objective=self.objective,
        )
        publish(self.feed.engine, self.policy)

    def prompts(self) -> list[str]:
        """Texts of every step's prompts, in the order in which they are drawn."""
        draws = self.sampler.draw(0, self.work.num_problems * self.work.steps, 1)
        return [self.renderer.prompt_text(draw.problem) for draw in draws]

    def submit(self, rollout: Rollout, problem) -> dict[str, Future]:
        """No check: the verdict is paid nothing."""
        verdict: Future = Future()
        verdict.set_result(Verdict(0.0, "wrong"))
        return {SCORE: verdict}

    def learn(self, block: Sequence[Settled]) -> None:
        """The block's one update, as the loop makes it."""
        stage, ledger = self.stage, Ledger()
        step = self.policy.version + 1
        split = loop.split_into_updates(block, self.objective, stage)
        batches = loop.prepare_updates(split, step, self.objective, self.policy, stage, ledger)
        loop.learn(batches, self.policy, self.objective, stage, ledger)

    def prove(self, path: Path) -> dict:
        """Sample a block, take one update on it and leave its gradients at `path`."""
        block = self.feed.block(self.work.num_problems)
        error = self.mixed_error(block)
        self.learn([without_engine(settled) for settled in block])
        save_file({name: weight.grad for name, weight in self.policy.model.named_parameters()}, path)
        members = [member for settled in block for member in settled.kept.members]
        return {
            "prompt_ids": [list(member.rollout.request.prompt_ids) for member in members],
            "completion_ids": completions(block),
            "rewards": [member.reward for member in members],
            "mixed_logp_error": error,
        }

    def mixed_error(self, block: Sequence[Settled]) -> dict[str, float]:
        """Mean and largest |log p in mixed precision - in float32| over the tokens of a block, same weights."""
        stage = self.stage.model_copy(update={"precision": "bf16_autocast"})
        mixed = Policy(self.folder, stage, total_updates=1, temperature=stage.temperature, needs_ref=False)
        samples = [sample for batch in loop.split_into_updates(block, self.objective, stage) for sample in batch]
        gaps = np.abs(np.concatenate(mixed.score(samples)) - np.concatenate(self.policy.score(samples)))
        return {"mean": float(gaps.mean()), "max": float(gaps.max())}


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


def stage_of(work: Work) -> RlStageConfig:
    """The recipe: the default objective without a correction for the sampler, which TRL has for vLLM only."""
    return RlStageConfig(
        name="rl",
        model=work.folder,
        data=source_of(work.model),
        verifier="numeric",
        reward={"score": 0.0, "drawn": 1.0},
        prompt={"format": "Q: {prompt}\nA:"} if work.model == "embedded" else {},
        objective={"clip_low": CLIP_LOW, "clip_high": CLIP_HIGH, "correction": "none", "group": {"select": "all"}},
        optimizer={
            "warmup_updates": 0,
            "beta1": BETAS[0],
            "beta2": BETAS[1],
            "epsilon": EPSILON,
            "grad_clip": work.grad_clip,
        },
        learning_rate=LEARNING_RATE,
        precision=work.precision,
        engine={"kind": work.engine, "max_model_len": LONGEST[work.model], "max_num_seqs": work.num_sequences},
        prompts_per_step=work.num_problems,
        group_size=work.group_size,
        max_new_tokens=work.max_new_tokens,
        micro_batch_tokens=work.micro_batch_tokens,
        threads=work.threads,
        steps=work.steps + 1,  # the last one would end in a checkpoint
        checkpoint_every=work.steps + 2,
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
        return location.locate(model)
    folder = CACHE / model
    return str(folder if folder.is_dir() and any(folder.iterdir()) else small_models.fetch(model, folder))
