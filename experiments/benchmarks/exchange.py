"""What ranks exchange in a step, beside gathering every rollout and every row of an update on every rank.

    python experiments/benchmarks/exchange.py [--json FILE]

Two processes over gloo, each with the rollouts of its own draws, made up; nothing is sampled or trained. Bytes are
those of the pickled values that a rank receives, memory is the growth of its peak over the step. For 64 ranks the bytes
are computed from those of two, not measured.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import torch.distributed as dist
from bars import finish, line, machine, row

from r1lab.distributed import exchange, ranks
from r1lab.distributed.launch import free_port
from r1lab.distributed.partition import by_draw, by_tokens
from r1lab.objective import build
from r1lab.objective.samples import prepared_updates, samples_of_group
from r1lab.recipe import ObjectiveConfig
from r1lab.records import Draw, Group, Request, RequestId, Role, Rollout, Sample, Sampling, Scored
from r1lab_data import Problem
from r1lab_verifiers.verdict import Verdict

PROMPT_TOKENS, GROUP_SIZE, VOCABULARY = 128, 8, 150_000
COLUMNS = ("logp", "entropy", "old", "ref", "engine", "advantage", "scale")
MOST_SHARE = 0.1
"""Of what a rank other than 0 receives and holds in 64 processes, of what it did."""


def requests(draws: int, most: int) -> list[Request]:
    random = np.random.default_rng(0)
    found = []
    for draw in range(draws):
        prompt = tuple(random.integers(VOCABULARY, size=PROMPT_TOKENS).tolist())
        sampling = Sampling(max_new_tokens=most)
        found += [Request(RequestId("train/rl", draw, at), f"p{draw}", prompt, 0, sampling) for at in range(GROUP_SIZE)]
    return found


def sampled(asked: list[Request]) -> list[Scored]:
    """Made up: half to all of the tokens that a request allows, some four characters each."""
    done = []
    for request in asked:
        random = np.random.default_rng([request.id.draw, request.id.index])
        size = int(random.integers(request.sampling.max_new_tokens // 2, request.sampling.max_new_tokens + 1))
        ids = tuple(random.integers(VOCABULARY, size=size).tolist())
        logprobs = random.normal(size=size).astype(np.float32)
        version = np.zeros(size, np.int32)
        text = random.bytes(2 * size).hex()
        rollout = Rollout(request, ids, np.full(size, Role.POLICY, np.int8), logprobs, version, "eos", text)
        score = float(random.integers(2))
        verdict = Verdict(score, "correct" if score else "wrong", "42", "not 43")
        done.append(Scored(rollout, verdict, score, {"score": score}))
    return done


def samples_of(asked: list[Request], scored: list[Scored]) -> list[Sample]:
    objective = build(ObjectiveConfig(), max_new_tokens=asked[0].sampling.max_new_tokens, group_size=GROUP_SIZE)
    groups = []
    for at in range(0, len(scored), GROUP_SIZE):
        draw = Draw(asked[at].id.draw, Problem(asked[at].problem_id, "", "", source="s"), GROUP_SIZE)
        groups.append(Group(draw, tuple(scored[at : at + GROUP_SIZE])))
    return prepared_updates(objective, [[each for group in groups for each in samples_of_group(objective, group)]], 1)[
        0
    ]


def rows_of(samples: list[Sample]) -> list[dict[str, np.ndarray]]:
    """As an update makes them of this rank's share."""
    forwarded = [sample for sample in samples if not sample.left_out]
    mine = [forwarded[index] for index in ranks.own_share(forwarded, by_tokens)]
    tokens = sum(len(sample.role) for sample in mine)
    whole = {"role": np.zeros(tokens, np.int64), "sequence": np.zeros(tokens, np.int64)}
    return [{name: np.random.default_rng(1).normal(size=tokens).astype(np.float32) for name in COLUMNS} | whole]


def everything(asked: list[Request]) -> object:
    """Every rollout and every row on every rank."""
    scored = ranks.shared_out(asked, by_draw, sampled)
    samples = samples_of(asked, scored)
    return samples, ranks.gather(lambda: rows_of(samples))


def what_decides(asked: list[Request]) -> object:
    """What the loop does: see `r1lab.distributed.exchange`."""
    samples = exchange.delivered(samples_of(asked, exchange.gathered(asked, sampled, is_lean=True)))
    return samples, ranks.to_first(rows_of(samples))


WAYS = {"everything": everything, "what decides": what_decides}


class Received:
    """Bytes of the pickled values that come to this rank."""

    def __init__(self) -> None:
        self.bytes = 0
        gather_all, gather, scatter = dist.all_gather_object, dist.gather_object, dist.scatter_object_list

        def all_gather_object(values, value, group=None):
            gather_all(values, value, group=group)
            self.add(each for number, each in enumerate(values) if number != ranks.rank())

        def gather_object(value, values=None, group=None):
            gather(value, values, group=group)
            self.add((values or [])[1:])

        def scatter_object_list(received, values=None, group=None):
            scatter(received, values, group=group)
            self.add(received if ranks.rank() else ())

        dist.all_gather_object, dist.gather_object = all_gather_object, gather_object
        dist.scatter_object_list = scatter_object_list

    def add(self, values) -> None:
        self.bytes += sum(len(pickle.dumps(value)) for value in values)


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(text for text in status.splitlines() if text.startswith("VmHWM")).split()[1])


def process(rank: int, port: int, way: str, draws: int, most: int, counts: bool, answers) -> None:
    """One rank; bytes and memory are measured apart, since counting keeps copies."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}  # fmt: skip
    with ranks.session():
        asked = requests(draws, most)
        WAYS[way](requests(2, 8))
        received = Received() if counts else None
        Path("/proc/self/clear_refs").write_text("5")
        before = peak_bytes()
        kept = WAYS[way](asked)
        answers.put((rank, received.bytes if received else peak_bytes() - before))
        del kept
        ranks.gather(lambda: None)


def measured(way: str, draws: int, most: int, *, counts: bool) -> list[int]:
    """Bytes received, or the growth of the peak, of either rank."""
    spawn = multiprocessing.get_context("spawn")
    answers, port = spawn.Queue(), free_port()
    both = [spawn.Process(target=process, args=(rank, port, way, draws, most, counts, answers)) for rank in range(2)]
    for each in both:
        each.start()
    found = dict(answers.get(timeout=300) for _ in both)
    for each in both:
        each.join()
    return [found[rank] for rank in range(2)]


def computed(figures: dict[str, list[int]], size: int) -> dict[str, list[float]]:
    """Of as many ranks for the same block, from those of two.

    Of everything a rank gets what it has not made itself, (size - 1) / size instead of a half. Of what decides rank 0
    gets the same share; another one gets that of the outcomes, and 1 / size of the samples, of which it lacks all but
    1 / size: instead of a half of a half.
    """
    more = (size - 1) / size / 0.5
    outcomes, rest = figures["outcomes"][1], figures["what decides"][1] - figures["outcomes"][1]
    return {
        "everything": [value * more for value in figures["everything"]],
        "what decides": [
            figures["what decides"][0] * more,
            outcomes * more + rest * (1 / size) * ((size - 1) / size) / 0.25,
        ],
    }


def outcomes_alone(asked: list[Request]) -> object:
    """The outcomes without the rest: what is the same for every rank but 0."""
    return exchange.gathered(asked, sampled, is_lean=True)


WAYS["outcomes"] = outcomes_alone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    work = (options.draws, options.tokens)
    tokens = sum(len(each.rollout.role) for each in sampled(requests(*work)))
    received = {way: measured(way, *work, counts=True) for way in WAYS}
    peaks = {way: measured(way, *work, counts=False) for way in ("everything", "what decides")}
    many = computed(received, 64)
    rows = []
    for way in ("everything", "what decides"):
        for rank, name in enumerate(("rank 0", "another rank")):
            rows.append(row(f"{way}, {name}: bytes a token", received[way][rank] / tokens, "<=", None))
            rows.append(row(f"{way}, {name}: peak bytes a token", peaks[way][rank] / tokens, "<=", None))
            rows.append(row(f"{way}, {name}: bytes a token, 64 ranks (computed)", many[way][rank] / tokens, "<=", None))
    share = many["what decides"][1] / many["everything"][1]
    rows.append(row("another rank of 64: share of the bytes (computed)", share, "<=", MOST_SHARE))
    rows[0] |= {"tokens": tokens, "received": received, "peaks": peaks} | machine(("r1lab", "torch"))
    for each in rows:
        print(line(each))
    print(json.dumps({"tokens": tokens, "received": received, "peaks": peaks}), file=sys.stderr)
    return finish(rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
