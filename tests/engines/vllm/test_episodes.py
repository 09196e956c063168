"""Episodes of three turns over vLLM, with new weights between two blocks: exact to the token, and one forward pass."""

from concurrent.futures import Future

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from r1lab import embedded
from r1lab.engines import make
from r1lab.engines.sync import send
from r1lab.engines.vllm import diagnose
from r1lab.environments.resolve import ResolvedEnvironment
from r1lab.policy.policy import Policy
from r1lab.records import Request, RequestId, Role, Sample, Sampling
from r1lab.rollout.bridge import Bridge
from r1lab.rollout.episode import EpisodePlan, Episodes
from r1lab.rollout.renderer import Renderer
from r1lab_data import Problem

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}"),
]
PROBLEMS = {f"p{n}": Problem(f"p{n}", f"{n}1+{n}4", "0", source="s") for n in range(4)}


class Talk:
    """Asks for another sum after every turn."""

    turns = 0

    def world(self, *_):
        return Talk()

    def start(self):
        return self.told(observation=None)

    def step(self, text):
        self.turns += 1
        return self.told(observation=f"{self.turns}2+{len(text)}")

    def end(self):
        return self.told()

    def told(self, **answer):
        future = Future()
        future.set_result({"done": False, "reward": 0.0, "info": {}, "verdict": None, **answer})
        return future


def test_episodes_of_three_turns_are_one_forward_pass_before_and_after_a_sync(make_stage):
    torch.set_num_threads(1)
    policy = Policy(str(embedded.path()), make_stage(threads=1), total_updates=9, temperature=1.0, needs_ref=False)
    words = AutoTokenizer.from_pretrained(embedded.path())
    renderer = Renderer(words, format="Q: {prompt}\nA:")
    plan = EpisodePlan(ResolvedEnvironment("x:Y"), 3, 100, Bridge(renderer))
    sampling = Sampling(max_new_tokens=120)
    requests = [
        Request(
            RequestId("train/rl", n, index), f"p{n}", renderer.render(PROBLEMS[f"p{n}"]), 31 * n + index + 1, sampling
        )
        for n in range(4)
        for index in range(3)
    ]
    engine = make("vllm", policy.model, words, max_num_seqs=64)
    try:
        dropped, reset = [], engine.llm.reset_prefix_cache
        engine.llm.reset_prefix_cache = lambda **given: (dropped.append(1), reset(**given))[1]
        blocks = []
        for version in (0, 1):
            with torch.no_grad():
                for weight in policy.model.parameters():
                    weight.mul_(1 + 0.05 * version)
            send(engine, policy.named_tensors, version, policy)  # and its probe
            before = len(dropped)
            played = [list(Episodes({"s": plan}, PROBLEMS, renderer, Talk(), 0).play(engine, requests)) for _ in "12"]
            assert len(dropped) == before + 2  # once a block, not at every turn
            one, again = (sorted(block, key=lambda rollout: rollout.request.id) for block in played)
            assert [r.completion_ids for r in one] == [r.completion_ids for r in again]
            blocks.append(one)
            zero = [np.zeros(len(r.role), np.float32) for r in one]
            scored = policy.score([Sample(r, r.role, z, z) for r, z in zip(one, zero)])
            for rollout, logprobs in zip(one, scored):
                sampled = rollout.role == Role.POLICY
                assert np.abs(logprobs - rollout.engine_logprobs)[sampled].max() < 1e-4
                assert np.isnan(rollout.engine_logprobs[~sampled]).all() and set(rollout.version) == {version}
                assert rollout.request.id.turn == 0 and rollout.num_sampled == sampled.sum()
            assert sum(len(rollout.turns) == 3 for rollout in one) > 6
        assert [r.completion_ids for r in blocks[0]] != [r.completion_ids for r in blocks[1]]
    finally:
        engine.close()
