"""vLLM samples from weights and an adapter beside them as the policy does, and every fault of a sync is found out."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from r1lab import embedded
from r1lab.engines import make
from r1lab.engines.sync import BOUNDS, probe, send
from r1lab.engines.vllm import diagnose
from r1lab.engines.vllm import lora as vllm_adapter
from r1lab.errors import RunError
from r1lab.policy import lora as adapters
from r1lab.policy.policy import Policy
from r1lab.recipe import LoraConfig

pytest.importorskip("peft")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(diagnose.missing() is not None, reason=f"no vLLM: {diagnose.missing()}"),
]
SHARED = {"total_updates": 9, "temperature": 1.0, "needs_ref": False}


@pytest.fixture
def policy_of(make_stage):
    torch.set_num_threads(1)
    return lambda **lora: Policy(str(embedded.path()), make_stage(threads=1, lora=LoraConfig(**lora)), **SHARED)


@contextmanager
def started(policy, **settings):
    engine = make("vllm", policy.model, policy.tokenizer, max_num_seqs=16, **settings)
    try:
        yield engine
    finally:
        engine.close()


def stir(policy, seed):
    """Random matrices, both, as far from nothing as a long run might bring them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, matrix in adapters.adapter_matrices(policy.model):
            matrix.copy_(0.04 * torch.randn(matrix.shape, generator=generator))
    return policy


def merged_engine(lab, policy):
    """The local engine with what the policy is now."""
    plain = AutoModelForCausalLM.from_pretrained(embedded.path(), dtype=torch.float32)
    local = lab.engine_of(plain, policy.tokenizer)
    local.sync(policy.named_tensors(), 1)
    return local


def asked(lab, policy, **sampling):
    texts = [f"Q: {a}+{b}\nA:" for a, b in ((12, 34), (7, 8), (903, 118), (55, 6))]
    return [lab.request(draw, policy.tokenizer(text)["input_ids"], **sampling) for draw, text in enumerate(texts)]


def same_greedy(lab, engine, policy):
    requests = asked(lab, policy, temperature=0, max_new_tokens=48)
    pairs = zip(lab.run(engine, requests), lab.run(merged_engine(lab, policy), requests), strict=True)
    for ours, theirs in pairs:
        assert (ours.completion_ids, ours.finish) == (theirs.completion_ids, theirs.finish)
        np.testing.assert_allclose(ours.engine_logprobs, theirs.engine_logprobs, atol=1e-4)


def spied(engine, monkeypatch, change=lambda method, tensors: tensors):
    """(method, bytes) of what goes to the worker, as `change` leaves it."""
    calls, original = [], engine.llm.collective_rpc

    def call(method, args=(), **others):
        tensors = list(change(method, args[0]))
        calls.append((method, sum(tensor.nbytes for _, tensor in tensors)))
        return original(method, args=(tensors, *args[1:]), **others)

    monkeypatch.setattr(engine.llm, "collective_rpc", call)
    return calls


def test_after_updates_of_the_adapter_alone_it_samples_what_the_policy_says(lab, policy_of, monkeypatch):
    policy = policy_of(rank=3)  # room is made for 8
    with started(policy) as engine:
        calls = spied(engine, monkeypatch)
        send(engine, policy.named_tensors, 0, policy)
        before = lab.run(engine, asked(lab, policy, temperature=0))
        for version in (1, 2):
            held = [matrix.clone() for _, matrix in adapters.adapter_matrices(stir(policy, version).model)]
            assert send(engine, policy.named_tensors, version, policy) and engine.version == version
            assert probe(engine, version, policy) < 1e-5 < BOUNDS[torch.float32]
            assert all(map(torch.equal, held, (matrix for _, matrix in adapters.adapter_matrices(policy.model))))
            same_greedy(lab, engine, policy)
        assert lab.ids(before) != lab.ids(lab.run(engine, asked(lab, policy, temperature=0)))
    assert [method for method, _ in calls] == ["r1lab_load"] + 3 * ["r1lab_adapt"]
    assert calls[1][1] < calls[0][1] / 5


@pytest.mark.parametrize("targets", [("q_proj",), ("v_proj", "gate_proj", "o_proj"), ("down_proj",)])
def test_some_layers_alone_may_be_adapted(lab, policy_of, targets):
    policy = policy_of(rank=8, targets=targets)
    with started(policy) as engine:
        send(engine, policy.named_tensors, 0, policy)
        send(engine, stir(policy, 1).named_tensors, 1, policy)
        assert probe(engine, 1, policy) < 1e-5


def test_an_adapter_that_arrived_otherwise_is_named_by_both_checksums(lab, policy_of, monkeypatch):
    policy = policy_of(rank=4)
    with started(policy) as engine:
        send(engine, policy.named_tensors, 0, policy)
        with monkeypatch.context() as patch:
            spied(engine, patch, lambda _, tensors: [(name, tensor + 1e-3) for name, tensor in tensors])
            said = r"version 1: sent an adapter of checksum ([0-9a-f]{16}), received by worker 0 (?!\1)[0-9a-f]{16};"
            with pytest.raises(RunError, match=said):
                send(engine, stir(policy, 1).named_tensors, 1, policy)
        assert engine.version == -1
        send(engine, policy.named_tensors, 1, policy)
        same_greedy(lab, engine, policy)


def test_an_adapter_or_keys_that_stayed_as_they_were_are_found(policy_of, monkeypatch):
    policy = policy_of(rank=4)
    with started(policy) as engine:
        send(engine, stir(policy, 1).named_tensors, 1, policy)
        for place, name in ((vllm_adapter, "put"), (engine.llm, "reset_prefix_cache")):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, lambda *_, **__: True)
                with pytest.raises(RunError, match=r"sync of version 2: .* differ from the policy's by "):
                    send(engine, stir(policy, 2).named_tensors, 2, policy)
            send(engine, stir(policy, 1).named_tensors, 1, policy)


def test_matrices_that_are_not_the_policys_are_refused(policy_of):
    policy = policy_of(rank=4)
    with started(policy) as engine:
        with pytest.raises(ValueError, match=r"left out \d+ weights, 'base_model\.model\.model\.layers\.0\..*lora_A"):
            engine.sync(adapters.base_weights(policy.model), 0)
        with pytest.raises(ValueError, match=r"left out \d+ weights, 'model\.embed_tokens\.weight'"):
            engine.sync(policy.named_parts(False), 0)
        other = policy_of(rank=5)
        with pytest.raises(ValueError, match=r"lora_A.weight': the engine has shape \[4, 128\], not \[5, 128\]"):
            engine.sync(other.named_parts(True), 0)


def test_the_adapter_may_change_in_flight(lab, policy_of):
    policy = policy_of(rank=4)
    with started(policy) as engine:
        send(engine, policy.named_tensors, 0, policy)
        prompt = asked(lab, policy)[0].prompt_ids
        engine.submit([lab.request(0, prompt, index, max_new_tokens=60, temperature=2.0) for index in range(15)])
        engine.submit([lab.request(1, prompt, max_new_tokens=5)])
        stream = engine.completed()
        done = [next(stream)]
        engine.sync(stir(policy, 1).named_parts(False), 4)
        done += stream
        crossed = [rollout for rollout in done if set(rollout.version.tolist()) == {0, 4}]
        assert len(done) == 16 and crossed
        merged = AutoModelForCausalLM.from_pretrained(embedded.path(), dtype=torch.float32).eval()
        merged.load_state_dict(dict(policy.named_tensors()), strict=False)
        for rollout in crossed:
            new, scale = rollout.version == 4, rollout.request.sampling.temperature
            theirs = lab.reference_logprobs(merged, rollout, scale)
            np.testing.assert_allclose(rollout.engine_logprobs[new], theirs[new], atol=1e-4)
            assert rollout.version.tolist() == sorted(rollout.version)


def test_a_layer_that_vllm_has_not_is_refused(policy_of, monkeypatch):
    policy, of = policy_of(rank=4), adapters.adapter_of
    more = ("model.layers.0.mlp.nowhere",)
    monkeypatch.setattr(adapters, "adapter_of", lambda model: replace(of(model), layers=of(model).layers + more))
    said = r"cannot adapt model.layers.0.mlp.nowhere; leave nowhere out of lora.targets, or take kind: local"
    with pytest.raises(ValueError, match=said), started(policy):
        pass


def test_in_bfloat16_it_keeps_its_bound(policy_of):
    policy = policy_of(rank=4)
    with started(policy, dtype=torch.bfloat16) as engine:
        send(engine, policy.named_tensors, 0, policy)
        send(engine, stir(policy, 1).named_tensors, 1, policy)
