"""Rollouts through our vLLM engine beside a bare `LLM.generate` of the same requests, and seconds of a weight sync.

    .venv-vllm/bin/python experiments/benchmarks/rollout.py --model smollm2|embedded [--json FILE]

Both sides live in this process with the same weights and limits and take turns, after a round of warm-up. Requests
carry seeds, so that both must sample the same tokens: otherwise there is no ratio. The bare side gets the parameters
that our requests translate to; a second round without seeds and log-probabilities says what those cost. A sync is timed
from the trainer's tensors to an engine that samples from them; the probe that follows it stands apart. In float32.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bars import finish, line, machine, row
from step_ours import located, source_of

from r1lab.doctor import versions
from r1lab.engines.sync import probe
from r1lab.engines.vllm import diagnose
from r1lab.engines.vllm import requests as vllm_requests
from r1lab.engines.vllm.engine import VllmEngine, parameters
from r1lab.engines.vllm.start import for_cpu, untouched
from r1lab.policy.policy import Policy
from r1lab.recipe import RlStageConfig
from r1lab.records import Request, RequestId, Sampling
from r1lab.rollout.renderer import Renderer
from r1lab.seeds import derive
from r1lab.stages.check import problems_of

PACKAGES = ("r1lab", "torch", "transformers")
GPU_SHARE = 0.3
"""Of memory, for each of the two engines."""


def main() -> int:
    options = parse()
    if reason := diagnose.missing():
        sys.exit(f"rollout: {reason}")
    stage = RlStageConfig(
        data=source_of(options.model), model=options.model, precision="float32", threads=options.threads
    )
    torch.set_num_threads(options.threads)
    policy = Policy(located(options.model), stage, total_updates=1, temperature=1.0, needs_ref=False)
    asked = requests(stage, policy, options)
    room = max(len(request.prompt_ids) for request in asked) + options.max_new_tokens
    limits = {"max_model_len": max(room, 384), "max_num_seqs": options.sequences}
    ours = VllmEngine(policy.model, policy.tokenizer, gpu_memory_utilization=GPU_SHARE, **limits)
    ours.sync(policy.named_tensors(), 0)
    bare = Bare(located(options.model), policy, limits)
    rows = sampled(ours, bare, asked, options) + synced(ours, policy, options.repeats)
    vllm = {name: version for name in diagnose.EXTRA if (version := versions.version(name))}
    rows[0] |= {"work": vars(options) | {"json": None}, "vllm": vllm} | machine(PACKAGES)
    for each in rows:
        print(line(each))
    return finish(rows, options.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=("smollm2", "embedded"), default="smollm2")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=64, help="decoded at once, on both sides")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def requests(stage: RlStageConfig, policy: Policy, options: argparse.Namespace) -> list[Request]:
    """The first problems of the step benchmark, a group each."""
    ((name, source),) = stage.data.items()
    renderer = Renderer(policy.tokenizer, format="Q: {prompt}\nA:" if options.model == "embedded" else "{prompt}")
    sampling = Sampling(max_new_tokens=options.max_new_tokens)
    problems = problems_of(source, name, stage, Path.cwd())[: options.problems]
    return [
        Request(
            RequestId("rollout", draw, index), problem.id, renderer.render(problem),
            derive(0, "rollout", draw, index), sampling,
        )
        for draw, problem in enumerate(problems)
        for index in range(options.group)
    ]  # fmt: skip


class Bare:
    """`vllm.LLM` on the model's folder, with the limits of ours."""

    def __init__(self, folder: str, policy: Policy, limits: dict[str, int]):
        with untouched():
            from vllm import LLM

            options = {**limits, "dtype": "float32", "gpu_memory_utilization": GPU_SHARE}
            on_cpu = not torch.cuda.is_available()
            if on_cpu:
                options |= for_cpu(policy.model.config, options) | {"distributed_executor_backend": "uni"}
            self.llm = LLM(folder, enforce_eager=on_cpu, logprobs_mode="processed_logprobs", **options)

    def generate(self, asked: Sequence[Request], eos: set[int], plain: bool = False) -> list[tuple[int, ...]]:
        """The completions' ids. `plain`: without seeds and log-probabilities."""
        made = [parameters(request, eos) for request in asked]
        if plain:
            for each in made:
                each.seed = each.logprobs = None
        prompts = [{"prompt_token_ids": vllm_requests.prompt_ids(request)} for request in asked]
        self.llm.reset_prefix_cache()
        return [tuple(output.outputs[0].token_ids) for output in self.llm.generate(prompts, made, use_tqdm=False)]


def sampled(ours: VllmEngine, bare: Bare, asked: Sequence[Request], options: argparse.Namespace) -> list[dict]:
    """Tokens a second of each side, in turns; one round of warm-up."""

    def own() -> list[tuple[int, ...]]:
        ours.submit(asked)
        found = {rollout.request.id: rollout.completion_ids for rollout in ours.completed()}
        return [found[request.id] for request in asked]

    sides: dict[str, Callable] = {
        "ours": own,
        "bare": lambda: bare.generate(asked, ours.eos),
        "plain": lambda: bare.generate(asked, ours.eos, plain=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.repeats + 1):
        made = {}
        for name, side in sides.items():
            start = time.perf_counter()
            made[name] = side()
            rates[name].append(sum(map(len, made[name])) / (time.perf_counter() - start))
        if made["ours"] != made["bare"]:
            differ = sum(one != other for one, other in zip(made["ours"], made["bare"]))
            raise SystemExit(
                f"round {turn}: {differ} of {len(asked)} completions differ, so there is nothing to compare"
            )
    middle = {name: statistics.median(values[1:]) for name, values in rates.items()}
    return [
        row("vllm_vs_bare", middle["ours"] / middle["bare"], ">=", 0.95, rates=rates, equal_tokens=True),
        row("vllm_vs_plain", middle["ours"] / middle["plain"], ">=", None),
        row("tokens_per_s", middle["ours"], ">=", None),
    ]


def synced(ours: VllmEngine, policy: Policy, repeats: int) -> list[dict]:
    """Seconds of a sync and of its probe; the first of each warms up."""
    syncs, probes, gaps = [], [], []
    for version in range(1, repeats + 2):
        start = time.perf_counter()
        ours.sync(policy.named_tensors(), version)
        syncs.append(time.perf_counter() - start)
        start = time.perf_counter()
        gaps.append(probe(ours, version, policy))
        probes.append(time.perf_counter() - start)
    return [
        row("sync_seconds", statistics.median(syncs[1:]), "<=", 1.0, seconds=syncs),
        row("probe_seconds", statistics.median(probes[1:]), "<=", None, seconds=probes),
        row("probe_mean_gap", max(gaps), "<=", 1e-4),
    ]


if __name__ == "__main__":
    sys.exit(main())
