"""One part of the first minutes on a GPU: what the code assumes of it, where the loss head's time goes, attention, an
update of a 1.5B-shaped model, the local engine. `first_gpu.sh` runs all of them and more.

    python experiments/benchmarks/first_gpu.py api|parts|flex|update|local --out FOLDER [--cpu]
    python experiments/benchmarks/first_gpu.py table --out FOLDER

Each figure is a row of FOLDER/<part>.json, written as soon as it is there. `--cpu` runs the same on tiny sizes, which
tries the script and measures nothing. Models have random weights: nothing is downloaded, nothing is learned.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from bars import finish, line, row

HEAD = 2048, 151936
"""Dimension and vocabulary of the head whose parts are timed."""
ROWS = 3456, 4096
"""Of a chunk."""
BLOCK_COLUMNS = 2048
"""Of a product that stays in an H200's second-level cache: 33 MB of float32."""
REPEATS = 8
STEP_TOKENS = 8192
PEAK_FLOPS = 990e12
"""Of an H200 in bfloat16, by its data sheet."""
SHAPES = {
    False: {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
            "num_key_value_heads": 2, "vocab_size": 151936},
    True: {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
           "num_key_value_heads": 2, "vocab_size": 199},
}  # fmt: skip
"""Of the model, in full and tiny."""


class Bench:
    """The device, its clock and its memory."""

    def __init__(self, is_tiny: bool):
        self.is_tiny, self.device = is_tiny, "cpu" if is_tiny else "cuda"

    def wait(self) -> None:
        if not self.is_tiny:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object], repeats: int = REPEATS) -> float:
        """The median of some runs after two of warm-up."""
        taken = []
        for turn in range(3 if self.is_tiny else repeats + 2):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            taken += [time.perf_counter() - start] if turn >= 2 else []
        return statistics.median(taken)

    def timed(self, name: str, run: Callable[[], object], flops: float = 0.0, **limit) -> dict:
        """A row of milliseconds, and of TFLOP/s where the operations are known."""
        seconds = self.seconds(run)
        rate = {"tflops": flops / seconds / 1e12} if flops else {}
        return row(f"{name}, ms", 1e3 * seconds, "<=", limit.get("most"), **rate)

    def peak_gb(self) -> float | None:
        return None if self.is_tiny else torch.cuda.max_memory_allocated() / 1e9


def api(bench: Bench) -> Iterator[dict]:
    """Products with float32 results of bfloat16 matrices, on which the head's gradients stand."""
    name = torch.cuda.get_device_name() if not bench.is_tiny else "none"
    yield row("torch", None, "<=", None, version=torch.__version__, cuda=torch.version.cuda, gpu=name)
    a, b = (torch.randn(64, 64, device=bench.device).bfloat16() for _ in range(2))
    if bench.is_tiny:  # a CPU has no such product; the head does without
        yield row("float32 results of bfloat16 products", None, "<=", None)
        return
    total = torch.randn(64, 64, device=bench.device)
    exact = a.double() @ b.double()
    truth = total.double() - exact
    torch.addmm(total, a, b, torch.float32, alpha=-1, out=total)
    yield row("addmm into float32, error", (total - truth).abs().max().item(), "<=", 1e-4)
    yield row("mm into float32, error", (torch.mm(a, b, torch.float32) - exact).abs().max().item(), "<=", 1e-4)


def parts(bench: Bench) -> Iterator[dict]:
    """The loss head's products and passes one by one, and what could stand in their place."""
    dimension, vocabulary = (16, 300) if bench.is_tiny else HEAD
    for count in (5,) if bench.is_tiny else ROWS:
        yield from _parts_of(bench, count, dimension, vocabulary)
    if not bench.is_tiny:
        total, one = torch.zeros(vocabulary, dimension, device="cuda"), torch.ones((), device="cuda")
        yield bench.timed("scale and cast the weight's gradient", lambda: total.mul_(one).to(torch.bfloat16))


def _parts_of(bench: Bench, count: int, dimension: int, vocabulary: int) -> Iterator[dict]:
    from r1lab.kernels import triton_fused
    from r1lab.kernels.layer import Layer
    from r1lab.kernels.products import Products

    device, at = bench.device, f"of {count} rows"
    weight = (torch.randn(vocabulary, dimension, device=device) / dimension**0.5).bfloat16()
    hidden = torch.randn(count, dimension, device=device).bfloat16()
    target, hint = torch.randint(vocabulary, (count,), device=device), torch.full((count,), -2.0, device=device)
    products = Products(Layer(weight), mixed=True)
    e = torch.empty(count, vocabulary, device=device, dtype=products.gradient)
    flops = 2.0 * count * dimension * vocabulary
    tiles = triton_fused.FLOAT32_TILE if bench.is_tiny else triton_fused.TILE  # of what the device multiplies
    before = dict(tiles)
    if bench.is_tiny:
        tiles.update(ROWS=16, COLUMNS=128, DEPTH=16)
    describes = triton_fused.describes
    try:
        for stages in (3, 4):
            tiles["num_stages"] = stages
            for name, way in (("descriptors", describes), ("pointers", lambda *_: False)):
                triton_fused.describes = way
                run = lambda: triton_fused.forward(hidden, target, hint, e, products)  # noqa: E731
                yield bench.timed(f"fused forward by {name}, {stages} stages, {at}", run, flops)
    finally:
        triton_fused.describes = describes
        tiles.update(before)
    if bench.is_tiny:
        return
    rows, total = torch.randn_like(hidden), torch.zeros(vocabulary, dimension, device=device)
    yield bench.timed(f"bare logits in bfloat16, {at}", lambda: torch.mm(hidden, weight.t(), out=e), flops)
    yield bench.timed(f"bare logits in float32, {at}", lambda: torch.mm(hidden, weight.t(), torch.float32), flops)
    yield bench.timed(f"gradient of hidden states, {at}", lambda: torch.mm(e, weight, torch.float32), flops)
    added = lambda: torch.addmm(total, e.t(), rows, torch.float32, alpha=-1, out=total)  # noqa: E731
    yield bench.timed(f"gradient of the weight, added, {at}", added, flops)
    yield bench.timed(f"gradient of the weight, first, {at}", lambda: torch.mm(e.t(), rows, torch.float32), flops)
    block = torch.empty(count, BLOCK_COLUMNS, device=device)
    share = flops * BLOCK_COLUMNS / vocabulary
    few = weight[:BLOCK_COLUMNS].t()
    yield bench.timed(
        f"a block that stays in the cache, {at}", lambda: torch.mm(hidden, few, torch.float32, out=block), share
    )


def flex(bench: Bench) -> Iterator[dict]:
    """Attention over packed rows: errors, graphs of many lengths, the mask's and the kernel's time."""
    from torch._dynamo.utils import counters

    from r1lab.attention import flex as packed
    from r1lab.attention import segments
    from r1lab.attention.parts import row_length
    from r1lab.records import Segment

    heads, keys, size = (4, 2, 16) if bench.is_tiny else (12, 2, 128)
    small = (Segment(100, (130, 7)), Segment(60, (1, 300)))
    given = [torch.randn(1, each, row_length(small), size, requires_grad=True) for each in (heads, keys, keys)]
    truth = segments.attend(*given, small, window=None, scale=None)
    slope = torch.randn_like(truth)
    exact = (truth.detach(), *torch.autograd.grad(truth, given, slope))
    kinds = ((torch.float32, 1e-4),) if bench.is_tiny else ((torch.float32, 1e-4), (torch.bfloat16, 3e-2))
    for dtype, most in kinds:
        there = [each.detach().to(bench.device, dtype).requires_grad_(not bench.is_tiny) for each in given]
        start = time.perf_counter()
        found = [packed.attend(*there, small, window=None, scale=None)]
        if not bench.is_tiny:  # uncompiled it has no gradients
            found += torch.autograd.grad(found[0], there, slope.to(bench.device, dtype))
        wrong = [((one.cpu().float() - other).norm() / other.norm()).item() for one, other in zip(found, exact)]
        yield row(f"attention in {dtype}, error", max(wrong), "<=", most, seconds=time.perf_counter() - start)

    def tensors(length: int) -> list[torch.Tensor]:
        options = {"device": bench.device, "dtype": torch.bfloat16, "requires_grad": not bench.is_tiny}
        return [torch.randn(1, each, length, size, **options) for each in (heads, keys, keys)]

    def attended(given: list[torch.Tensor], packed_row: tuple) -> None:
        found = packed.attend(*given, packed_row, window=None, scale=None)
        if not bench.is_tiny:
            found.sum().backward()

    before = counters["stats"].get("unique_graphs", 0)
    for groups in range(1, 3 if bench.is_tiny else 9):
        one = tuple(Segment(100 + 7 * group, (400, 413)) for group in range(groups))
        attended(tensors(row_length(one)), one)
    yield row("graphs for many lengths", float(counters["stats"].get("unique_graphs", 0) - before), "<=", 3)
    long = tuple(Segment(128, (120, 120)) if bench.is_tiny else Segment(256, (960,) * 8) for _ in range(2))
    length, place = row_length(long), torch.device(bench.device)

    def masked() -> None:
        packed.block_mask.cache_clear()
        packed.block_mask(long, None, place)

    yield bench.timed(f"mask of {length} tokens", masked)
    pairs = sum((s.prompt**2 + sum(c * c for c in s.completions)) / 2 + s.prompt * sum(s.completions) for s in long)
    many = tensors(length)
    yield bench.timed("attention and its gradients", lambda: attended(many, long), 14.0 * pairs * heads * size)
    if not bench.is_tiny:
        padded = [torch.randn(16, each, 1216, size, device="cuda", dtype=torch.bfloat16, requires_grad=True)
                  for each in (heads, keys, keys)]  # fmt: skip
        dot = torch.nn.functional.scaled_dot_product_attention
        run = lambda: dot(*padded, is_causal=True, enable_gqa=True).sum().backward()  # noqa: E731
        yield bench.timed("the same samples in padded rows", run)


def _folder(bench: Bench) -> str:
    """A random model of the shape with the embedded tokenizer."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from r1lab import embedded

    folder = tempfile.mkdtemp()
    ends = {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
    config = Qwen2Config(**SHAPES[bench.is_tiny], max_position_embeddings=4096, tie_word_embeddings=True, **ends)
    with torch.device(bench.device):
        model = Qwen2ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded.path()).save_pretrained(folder)
    return folder


def _samples(bench: Bench) -> list:
    """Groups of completions of random tokens."""
    import numpy as np

    from r1lab.records import Request, RequestId, Role, Rollout, Sample, Sampling

    random, made = np.random.default_rng(0), []
    groups, members, prompt, size = (2, 2, 16, 24) if bench.is_tiny else (4, 8, 256, 480)
    for draw in range(groups):
        given = tuple(random.integers(5, 99, prompt).tolist())
        for index in range(members):
            ids = tuple(random.integers(5, 99, size).tolist())
            rollout = Rollout(
                request=Request(RequestId("t", draw, index), "p", given, draw, Sampling()),
                completion_ids=ids,
                role=np.full(size, Role.POLICY, np.int8),
                engine_logprobs=np.full(size, -4.0, np.float32),
                version=np.zeros(size, np.int32),
                finish="eos",
                text="",
            )
            advantage = np.full(size, 1.0 if index % 2 else -1.0, np.float32)
            made.append(Sample(rollout, rollout.role, advantage, np.full(size, 1e-4, np.float32)))
    return made


def update(bench: Bench) -> Iterator[dict]:
    """Optimizer steps of the model, with all activations kept and with few."""
    from r1lab.objective import build
    from r1lab.policy.policy import Policy
    from r1lab.recipe import ObjectiveConfig, RlStageConfig

    folder, samples = _folder(bench), _samples(bench)
    objective = build(ObjectiveConfig(preset="default"), max_new_tokens=480, group_size=8)
    knobs = {
        "name": "rl",
        "data": {"d": {"task": "addition"}},
        "micro_batch_tokens": 256 if bench.is_tiny else STEP_TOKENS,
    }
    for recomputes in (False, True):
        stage = RlStageConfig.model_validate({**knobs, "activation_checkpointing": recomputes})
        policy = Policy(folder, stage, total_updates=10, temperature=1.0, needs_ref=False)
        what = "activations recomputed" if recomputes else "activations kept"
        yield row(f"rows are packed, {what}", float(policy.shares_prompts), ">=", 1.0)
        for sample, logps in zip(samples, policy.score(samples)):
            sample.rollout.engine_logprobs[:] = logps
        for turn in range(2 if bench.is_tiny else 4):
            if not bench.is_tiny:
                torch.cuda.reset_peak_memory_stats()
            bench.wait()
            start = time.perf_counter()
            made = policy.update(samples, objective)
            bench.wait()
            seconds = time.perf_counter() - start
            phases, flops = policy.watch.take()
            more = {
                "phases": phases,
                "mfu": flops / seconds / PEAK_FLOPS,
                "peak_gb": bench.peak_gb(),
                "norm": made.grad_norm,
            }
            yield row(f"update {turn}, {what}, tokens/s", made.forwarded_tokens / seconds, ">=", None, **more)
        del policy
        if not bench.is_tiny:
            torch.cuda.empty_cache()


def local(bench: Bench) -> Iterator[dict]:
    """The local engine's tokens a second; the same requests twice."""
    from r1lab.engines.local.engine import LocalEngine
    from r1lab.policy import models
    from r1lab.records import Request, RequestId, Sampling

    folder, (count, new) = _folder(bench), (4, 8) if bench.is_tiny else (128, 64)
    model = models.load_model(folder, torch.bfloat16).to(bench.device)  # pyright: ignore[reportArgumentType]
    for dtype in (torch.float32, torch.bfloat16):
        engine = LocalEngine(model, models.load_tokenizer(folder), max_batch=count, dtype=dtype)
        engine.sync(model.named_parameters(), 0)
        asked = [
            Request(
                RequestId("t", index // 8, index % 8), "p", tuple(range(5, 69)), index, Sampling(max_new_tokens=new)
            )
            for index in range(count)
        ]
        turns = []
        for turn in range(2):
            engine.submit(asked)
            bench.wait()
            start = time.perf_counter()
            turns.append({rollout.request.id: rollout.completion_ids for rollout in engine.completed()})
            bench.wait()
            tokens = sum(map(len, turns[-1].values()))
            yield row(
                f"local engine in {dtype}, turn {turn}, tokens/s", tokens / (time.perf_counter() - start), ">=", None
            )
        differ = sum(one != other for one, other in pairwise(turns))
        yield row(f"local engine in {dtype}, turns that differ", float(differ), "<=", 0.0)
        engine.close()


PARTS: dict[str, Callable[[Bench], Iterator[dict]]] = {
    each.__name__: each for each in (api, parts, flex, update, local)
}


def run(part: str, bench: Bench, file: Path) -> int:
    """Write the part's rows, each as soon as it is there; an error is a row that does not hold."""
    rows, start = [], time.monotonic()
    finish([row(f"{part} came to its end", None, "<=", 0)], file)
    try:
        for each in PARTS[part](bench):
            print(line(each, 52), *(f"{key} {value}" for key, value in list(each.items())[5:]), flush=True)
            rows.append(each)
            finish([*rows, row(f"{part} came to its end", None, "<=", 0)], file)
    except Exception as error:  # what a first run finds out is written down, and the next part runs
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"{part} FAILED {said}", file=sys.stderr, flush=True)
        rows.append(row(f"{part} came to its end", None, "<=", 0, error=said))
    else:
        rows.append(row(f"{part} came to its end", 0.0, "<=", 0, seconds=time.monotonic() - start))
    return finish(rows, file)


def table(folder: Path) -> str:
    """Every row of every part, and how many held; parts that are no list of rows are left out."""
    lines, counts = [], {"held": 0, "missed": 0}
    for file in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        rows = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            continue
        lines += ["", file.stem]
        for each in rows:
            lines.append(f"  {line(each, 60)}")
            if each["limit"] is not None:
                counts["held" if each["holds"] else "missed"] += 1
    return "\n".join([*lines, "", f"{counts['held']} limits held, {counts['missed']} were missed or not run"])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("part", choices=[*PARTS, "table"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on a CPU: tries the script alone")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part == "table":
        print(table(given.out))
        return 0
    if not given.cpu and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --cpu tries the script on tiny sizes")
    return run(given.part, Bench(given.cpu), given.out / f"{given.part}.json")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
