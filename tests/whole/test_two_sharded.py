"""Two processes that hold a part of each weight: what they load, save and resume is what one process has, bit for bit,
and a death within any of it costs nothing but time."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from r1lab import attention, embedded
from r1lab.distributed.launch import free_port
from r1lab.policy import classifier, models
from r1lab.policy.policy import Policy
from r1lab.recipe import RlStageConfig
from r1lab.run import checkpoint

pytestmark = pytest.mark.slow
PROCESS = """
os.environ.update({environment!r})
log = open({log!r}, "a", buffering=1)
os.dup2(log.fileno(), 2)
sys.stderr = log
import torch
torch.set_num_threads(1)
from pathlib import Path
from r1lab import feed, loop
from r1lab.distributed import parts, ranks, sharding
from r1lab.policy.policy import Policy
from r1lab.recipe import RlStageConfig
from r1lab.run import checkpoint, files
folder = Path({folder!r})
{code}
"""


@pytest.fixture(scope="module")
def two(forked, ended):
    """Exit codes of a text of Python in two processes, the second text on one of them before it; what they say is in
    `log`."""

    def run(folder: Path, code: str, death: str = "pass", rank: int = 0) -> list[int | None]:
        port, processes = str(free_port()), []
        for number in range(2):
            environment = {
                "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                "RANK": str(number), "LOCAL_RANK": str(number), "MASTER_PORT": port, "R1LAB_RANK_DEADLINE": "300",
            }  # fmt: skip
            text = f"{death}\n{code}" if number == rank else code
            options = {"environment": environment, "log": str(folder / "log"), "folder": str(folder)}
            processes.append(forked(PROCESS.format(**options, code=text)))
        return ended(processes, seconds=400)

    return run


def said(folder: Path) -> list[str]:
    return [line for line in (folder / "log").read_text().splitlines() if line.startswith("r1lab: ")]


def same(ours, theirs) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


LOAD = """
import json
from r1lab.policy.reward_model import RewardModel
def whole(model):
    tensors = {name: sharding.full_tensor(tensor) for name, tensor in sharding.weights(model).items()}
    return {name: tensor.detach().clone() for name, tensor in (tensors | dict(model.named_buffers())).items()}
with ranks.session():
    original, streamed = sharding.stored, []
    sharding.stored = lambda *given: streamed.append(original(*given)) or streamed[-1]
    for name, (location, kind, knobs) in json.load(open(folder / "cases.json")).items():
        stage = RlStageConfig(data={"task": "addition"}, steps=1, parallel="fsdp2", **knobs)
        options = {"total_updates": 1, "seed": 3}
        if kind == "reward":
            policy = RewardModel(location, stage, turn_end=None, **options)
        else:
            named = {"other": str(folder / "other"), "same": None}.get(kind)
            policy = Policy(location, stage, temperature=1.0, needs_ref=kind != "alone", reference=named, **options)
        assert sharding.is_sharded(policy.model) and (policy.reference is None or sharding.is_sharded(policy.reference))
        reference = None if policy.reference is None else whole(policy.reference)
        sent = {}
        for policy.engine_dtype in (None, torch.bfloat16):
            sent[str(policy.engine_dtype)] = {name: tensor.clone() for name, tensor in policy.named_tensors()}
        way = [each is not None for each in streamed]
        found = (way, whole(policy.model), reference, policy.shares_prompts, sent)
        torch.save(found, folder / f"{name}-{ranks.rank()}.pt")
        streamed.clear()
        checkpoint.save_model(folder / f"{name} saved", policy.save)
"""
TINY = {
    "vocab_size": 99, "hidden_size": 30, "intermediate_size": 47, "num_hidden_layers": 2, "num_attention_heads": 3,
    "num_key_value_heads": 3, "head_dim": 10, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip


def family(folder: Path, kind: str, **more) -> str:
    config = AutoConfig.for_model(kind, **TINY, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(kind))
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((embedded.path() / name).read_bytes())
    return str(folder)


def test_every_base_is_loaded_sent_and_handed_on_as_one_process_does(two, tiny_model, tmp_path):
    tied, untied = str(embedded.path()), str(tiny_model)
    family(tmp_path / "other", "llama")
    family(tmp_path / "twice", "llama", tie_word_embeddings=True)
    tensors = load_file(tmp_path / "twice" / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "twice" / "model.safetensors", {"format": "pt"})
    cases = {
        "tied": (tied, "same", {}),
        "untied": (untied, "other", {"reference_precision": "bf16"}),
        "half": (untied, "same", {"precision": "pure_bf16"}),
        "uneven": (family(tmp_path / "gemma", "gemma3_text"), "alone", {"activation_checkpointing": True}),
        "columns": (family(tmp_path / "gpt2", "gpt2", n_embd=30, n_layer=2, n_head=3), "alone", {}),
        "experts": (family(tmp_path / "mixtral", "mixtral", num_local_experts=2), "alone", {}),
        "twice": (str(tmp_path / "twice"), "alone", {}),
        "reward": (untied, "reward", {}),
    }
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    assert two(tmp_path, LOAD) == [0, 0], (tmp_path / "log").read_text()
    for name, (location, kind, knobs) in cases.items():
        dtype = torch.bfloat16 if "precision" in knobs else torch.float32
        if kind == "reward":
            model = classifier.load_classifier(location, dtype, 3)
        else:
            model = models.load_model(location, dtype)
        true = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        weights = {key: weight.detach() for key, weight in model.named_parameters()}
        buffers = dict(model.named_buffers())
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=False) for rank in range(2))
        packed = kind != "reward" and attention.use_packed_attention(models.load_model(location, dtype))
        for way, found, reference, packs, sent in (first, second):
            assert packs == packed or kind == "reward", name
            assert set(way) == {"twice": {False}, "experts": set()}.get(name, {True}), name
            assert found.keys() == weights.keys() | buffers.keys(), name
            assert all(torch.equal(found[key], tensor) for key, tensor in (weights | buffers).items()), name
            assert same(sent["None"], weights), name
            assert same(sent["torch.bfloat16"], {key: weight.bfloat16() for key, weight in weights.items()}), name
            if kind == "other":
                other = models.load_model(str(tmp_path / "other"))
                half = {key: weight.detach().bfloat16() for key, weight in other.named_parameters()}
                assert same(reference, half | dict(other.named_buffers())), name  # angles stay in float32
            elif kind == "same":
                assert same(reference, weights | buffers), name
        model.save_pretrained(tmp_path / "whole" / name)
        for path in (tmp_path / "whole" / name).iterdir():
            assert path.read_bytes() == (tmp_path / f"{name} saved" / path.name).read_bytes(), (name, path.name)
        assert set(true) >= set(load_file(tmp_path / f"{name} saved" / "model.safetensors")) or name == "experts"


STATE = """
def built():
    stage = RlStageConfig(data={"task": "addition"}, steps=1, parallel="fsdp2", precision="float32", learning_rate=1e-3)
    policy = Policy(str(folder / "base"), stage, total_updates=9, temperature=1.0, needs_ref=True, value_rate=1.0)
    return policy
def learn(policy):
    torch.manual_seed(0)
    for weight in [weight for group in policy.optimizer.param_groups for weight in group["params"]]:
        weight.grad = torch.zeros_like(weight)
        sharding.fill(weight.grad, torch.randn(weight.shape))
    policy._step([])
def tensors(policy):
    whole = {f"weight {name}": sharding.full_tensor(value) for name, value in sharding.weights(policy.model).items()}
    whole |= {f"reference {name}": sharding.full_tensor(value) for name, value in policy.reference.state_dict().items()}
    whole |= {f"head {name}": sharding.full_tensor(value) for name, value in policy.value_head.state_dict().items()}
    for index, moments in policy.optimizer.state_dict()["state"].items():
        whole |= {f"{index} {name}": sharding.full_tensor(value) for name, value in moments.items()}
    return {name: value.clone() for name, value in whole.items()}
"""
SAVE = (
    STATE
    + """
with ranks.session():
    policy = built()
    learn(policy)
    policy.refresh_reference()
    learn(policy)
    checkpoint.save(folder / "rl-1", {"policy": policy}, policy.save_beside)
    torch.save(tensors(policy), folder / f"true-{ranks.rank()}.pt")
    again = built()
    checkpoint.load(folder / "rl-1", {"policy": again})
    again.restore(folder / "rl-1")
    torch.save(tensors(again), folder / f"again-{ranks.rank()}.pt")
    if (folder / "older").exists():
        older = built()
        checkpoint.load(folder / "older" / "rl-1", {"policy": older})
        older.restore(folder / "older" / "rl-1")
        torch.save(tensors(older), folder / f"older-{ranks.rank()}.pt")
"""
)


def in_one(folder: Path, code: str) -> dict:
    """What a text leaves in this process alone."""
    from r1lab.distributed import ranks, sharding

    names = {"folder": folder, "torch": torch, "ranks": ranks, "sharding": sharding, "Policy": Policy,
             "RlStageConfig": RlStageConfig, "checkpoint": checkpoint}  # fmt: skip
    exec(code, names)
    return names


def test_a_checkpoint_of_parts_is_read_by_two_and_by_one_and_two_read_that_of_one(two, tmp_path):
    torch.set_num_threads(1)
    family(tmp_path / "base", "qwen2", tie_word_embeddings=True)
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "base").symlink_to(tmp_path / "base")
    one = in_one(tmp_path / "older", SAVE)
    assert "form" not in json.loads((tmp_path / "older" / "rl-1" / "whole.json").read_text())
    assert two(tmp_path, SAVE) == [0, 0], (tmp_path / "log").read_text()
    true = torch.load(tmp_path / "true-0.pt")
    assert any(name.startswith("head") for name in true) and any(name.startswith("reference") for name in true)
    for name in ("true-1", "again-0", "again-1"):
        assert same(torch.load(tmp_path / f"{name}.pt"), true), name
    of_one = torch.load(tmp_path / "older" / "true-0.pt")
    assert same(torch.load(tmp_path / "older-0.pt"), of_one) and same(torch.load(tmp_path / "older-1.pt"), of_one)
    assert of_one.keys() == true.keys() and all(torch.allclose(of_one[name], true[name]) for name in true)
    whole = json.loads((tmp_path / "rl-1" / "whole.json").read_text())
    names = {"parts/.metadata", "parts/__0_0.distcp", "parts/__1_0.distcp", "state.pt"}
    assert whole["form"] == checkpoint.PARTED and set(whole["files"]) == names
    policy = one["built"]()
    checkpoint.load(tmp_path / "rl-1", {"policy": policy})
    policy.restore(tmp_path / "rl-1")
    assert same(one["tensors"](policy), true)


FULL = """
from torch.distributed.checkpoint import filesystem
def fail(*given, **more):
    raise OSError(28, "No space left on device")
filesystem._write_item = fail
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_a_disk_that_is_full_for_one_process_ends_both_in_one_line(two, tmp_path, rank):
    family(tmp_path / "base", "qwen2")
    code = (
        STATE
        + """
def run():
    with ranks.session():
        policy = built()
        learn(policy)
        checkpoint.save(folder / "rl-1", {"policy": policy}, policy.save_beside)
from r1lab.errors import RunError
try:
    run()
except RunError as error:
    print(f"r1lab: {error}", file=sys.stderr)
    sys.exit(1)
"""
    )
    assert two(tmp_path, code, FULL, rank) == [1, 1], (tmp_path / "log").read_text()
    (line,) = said(tmp_path)
    assert line.startswith(f"r1lab: disk full while writing {tmp_path / 'rl-1'} ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "log"]


RECIPE = {
    "name": "sharded", "kind": "rl", "data": {"task": "addition", "size": 64, "settings": {"digits": 2}},
    "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 8, "learning_rate": 3e-4, "threads": 1,
    "optimizer": {"warmup_updates": 0}, "workers": {"count": 1}, "checkpoint_every": 1, "prompts_per_step": 2,
    "group_size": 2, "reward": {"score": 1.0, "length": -1.0}, "parallel": "fsdp2", "steps": 2,
}  # fmt: skip
TRAIN = """
sys.argv = ["r1lab", "train", str(folder / "recipe.yaml")]
from r1lab.cli.main import main
main()
"""
WITHIN_A_FILE = """
from torch.distributed.checkpoint import filesystem
original, items = filesystem._write_item, []
def half(transforms, stream, *given, **more):
    items.append(None)
    if len(items) == 5:
        stream.write(b"half of a tensor")
        stream.flush()
        die()
    return original(transforms, stream, *given, **more)
filesystem._write_item = half
"""
DEATHS = {
    "while it samples": (1, "at_call(feed.Feed, '_sample', 1)"),
    "within recording": (0, "at_call(loop.journal, 'write_block', 1, before=False)"),
    "at the block": (1, "from r1lab.rollout import buffer; at_call(buffer.RolloutBuffer, 'take', 1, before=False)"),
    "before the first file": (1, "at_call(parts, 'write', 1)"),
    "within a file": (1, WITHIN_A_FILE),
    "after the files of parts": (0, "at_call(parts.FileSystemWriter, 'finish', 1)"),
    "after the states": (0, "at_call(checkpoint, '_write_table', 1)"),
    "after the table": (0, "at_call(files, '_sync_tree', 1, before=False)"),
    "after the rename": (0, "at_call(checkpoint, 'prune', 1)"),
}


def figures(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


@pytest.mark.timeout(500)  # ten runs one after the other
def test_killed_anywhere_about_a_checkpoint_the_run_is_the_unbroken_one(two, tmp_path):
    folders = tmp_path / "straight", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
        (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "out": str(folder / "run")}))
    assert two(folders[0], TRAIN) == [0, 0], (folders[0] / "log").read_text()
    for name, (rank, death) in DEATHS.items():  # one after the other in one run
        codes = two(folders[1], TRAIN, death, rank)
        assert codes[rank] == -9 and codes[1 - rank] == 1, (name, codes, (folders[1] / "log").read_text())
        wholes = checkpoint.listed(folders[1] / "run" / "checkpoints", "rl")
        assert len(wholes) == (name == "after the rename"), name
    assert two(folders[1], TRAIN) == [0, 0], (folders[1] / "log").read_text()
    assert figures(folders[0]) == figures(folders[1]) and len(figures(folders[0])) >= 2
    ours, theirs = (load_file(folder / "run" / "model" / "model.safetensors") for folder in folders)
    assert same(ours, theirs)
