"""vLLM beside a trainer on a GPU, with a fake in vLLM's place: whose GPU it takes, what sleeps, and in what order it
wakes."""

import os
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from r1lab import embedded, pipeline
from r1lab.distributed import ranks
from r1lab.engines import factory
from r1lab.engines.sync import send
from r1lab.engines.vllm import engine as vllm_engine
from r1lab.engines.vllm import start
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import EngineConfig
from r1lab.recipe.eval import EvalStageConfig


class FakeLlm:
    """Notes what vLLM is told; its worker receives what it is sent."""

    def __init__(self):
        self.told, self.model_config, self.engine_core = [], SimpleNamespace(max_model_len=64), self
        self.device = "cuda:0"

    def __getattr__(self, name):
        return lambda *given, **more: self.told.append((name, *given, *more.values()))

    def collective_rpc(self, name, args=()):
        self.told.append((name,))
        if name == "r1lab_device":
            return [self.device]
        received = vllm_engine.Checksum()
        for each in args[0]:
            received.add(*each)
        return [received.digest()]

    def calls(self, *names):
        return [call for call in self.told if call[0] in names]


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(embedded.path(), dtype=torch.float32).eval()


@pytest.fixture
def engine(model, monkeypatch):
    fake = FakeLlm()
    monkeypatch.setattr(vllm_engine, "start", lambda *_: fake)
    monkeypatch.setattr(vllm_engine, "gpus", lambda: [0])
    made = vllm_engine.VllmEngine(model, AutoTokenizer.from_pretrained(embedded.path()))
    made.owns_group = False
    send(made, model.named_parameters, 0)
    fake.told.clear()
    return made


@pytest.mark.parametrize(
    ("workers", "processes", "gpus", "expected"),
    [
        (1, None, [0], "uni"),
        (1, "1", [0], "uni"),
        (1, "2", [1], "external_launcher"),
        (1, "8", [7], "external_launcher"),
        (1, "2", [], "uni"),
        (2, None, [0], "mp"),
    ],
)
def test_each_rank_on_a_gpu_takes_its_own(workers, processes, gpus, expected, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if processes:
        monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr(start, "gpus", lambda: gpus)
    assert start.executor(workers) == expected


def test_the_current_gpu_is_afterwards_what_it_was_also_where_the_start_fails(monkeypatch):
    current = [3]
    monkeypatch.setattr(start, "gpus", lambda: list(current))
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: torch.no_grad())
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.__setitem__(0, device))
    with start.untouched():
        current[0] = 0
    assert current == [3]
    with pytest.raises(ValueError), start.untouched():
        current[0] = 0
        raise ValueError
    assert current == [3]


def test_an_engine_on_another_gpu_than_its_model_is_closed_and_refused(engine):
    engine.refuse_other_device(torch.device("cpu"))  # a model that waits on the host has no GPU
    engine.refuse_other_device(torch.device("cuda:0"))
    llm = engine.llm
    with pytest.raises(ValueError, match=r"vLLM computes on cuda:0 and the model on cuda:1; .*CUDA_VISIBLE_DEVICES"):
        engine.refuse_other_device(torch.device("cuda:1"))
    assert ("shutdown",) in llm.told


def test_weights_that_follow_are_dropped_and_memory_wakes_in_stages(engine, model):
    engine.weights_follow = True
    engine.sleep()
    engine.sleep()  # once is enough
    assert engine.version == -1
    assert send(engine, model.named_parameters, 0)  # the same version all the same: nothing of it is left
    assert engine.llm.calls("sleep", "wake_up", "r1lab_load") == [
        ("sleep", 2), ("wake_up", ["weights"]), ("r1lab_load",), ("wake_up", ["kv_cache"])
    ]  # fmt: skip
    engine.wake()
    assert engine.asleep == [] and len(engine.llm.calls("wake_up")) == 2


def test_weights_that_do_not_follow_are_kept_as_are_those_below_an_adapter(engine):
    engine.sleep()
    assert engine.version == 0
    engine.wake()
    engine.weights_follow, engine.adapter = True, object()
    engine.sleep()
    assert engine.version == 0
    engine.wake()
    assert engine.llm.calls("sleep", "wake_up") == [
        ("sleep", 1), ("wake_up", ["weights", "kv_cache"]), ("sleep", 1), ("wake_up", ["weights", "kv_cache"])
    ]  # fmt: skip


@pytest.mark.parametrize("follow", [False, True])
def test_an_engine_that_sleeps_wakes_before_it_is_closed(engine, follow):
    engine.weights_follow, llm = follow, engine.llm
    engine.sleep()
    engine.close()
    assert [name for name, *_ in llm.calls("wake_up", "shutdown")] == ["wake_up", "shutdown"]
    assert llm.calls("wake_up") == [("wake_up", ["weights", "kv_cache"])]


def test_a_check_of_vllms_own_that_fails_asleep_is_one_line(engine, monkeypatch):
    def sleep(level):
        raise AssertionError("Memory usage increased after sleeping.")

    monkeypatch.setattr(engine.llm, "sleep", sleep, raising=False)
    with pytest.raises(RunError, match="another process took or gave back memory of the same GPU"):
        engine.sleep()
    assert engine.asleep == [] and engine.version == 0


def test_a_model_of_the_same_configuration_is_described_in_the_same_folder(model, tmp_path, monkeypatch):
    words = AutoTokenizer.from_pretrained(embedded.path())
    with start.description(model, words) as folder:
        assert "config.json" in os.listdir(folder)
    assert not os.path.exists(folder)  # on a CPU nothing is compiled, and nothing kept
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(start, "CACHE", tmp_path / "cache")
    with start.description(model, words) as one, start.description(model, words) as again:
        assert one == again and "config.json" in os.listdir(one)
    monkeypatch.setattr(model.config, "rms_norm_eps", 1e-3)
    with start.description(model, words) as other:
        assert other != one
    assert len(list((tmp_path / "cache").iterdir())) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(start, "CACHE", tmp_path / "file" / "cache")
    with start.description(model, words) as unkept:
        assert "config.json" in os.listdir(unkept)


def test_one_model_over_several_gpus_in_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 4)
    for kind in ("vllm", "auto"):
        with pytest.raises(RecipeError, match=r"engine\.tensor_parallel: 2 in 4 processes: .*; use tensor_parallel: 1"):
            factory.check(EngineConfig(kind=kind, tensor_parallel=2), None)
    factory.check(EngineConfig(kind="local", tensor_parallel=2), None)
    factory.check(EngineConfig(kind="auto"), None)


def test_one_of_several_processes_does_not_start_vllm_alone(monkeypatch):
    def choice(kind):
        data = {"addition": {"task": "addition", "split": "eval", "size": 4}}
        stage = EvalStageConfig.model_validate({"engine": kind, "eval": {"sets": data}, "model": "embedded"})
        return pipeline._engine_choice(stage, model_config)

    model_config = SimpleNamespace()
    monkeypatch.setattr(factory, "choose", lambda kind, *_: factory.EngineChoice("vllm", ""))
    assert choice("vllm").name == choice("auto").name == "vllm"
    monkeypatch.setattr(ranks, "size", lambda: 2)
    assert choice("auto").name == "local"
    with pytest.raises(RecipeError, match="evaluates in a run of one process, and 2 were started"):
        choice("vllm")
