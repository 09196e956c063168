"""What a cluster.yaml may say, what is asked of a cluster, and what of both cannot be; Ray is asked nothing."""

import sys
from pathlib import Path

import pytest
import yaml

from r1lab.cluster import config, placement, preview
from r1lab.cluster.actor import Place
from r1lab.errors import RecipeError

RECIPE = {"name": "placed", "engine": "server", "data": {"task": "addition", "size": 8},
          "prompt": {"format": "{prompt}"}, "max_new_tokens": 8, "steps": 1}  # fmt: skip


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(cluster, processes, *overrides, **recipe) -> PlacedRun"""
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    def make(cluster=None, processes=None, *overrides, **recipe):
        (tmp_path / "recipe.yaml").write_text(
            yaml.safe_dump({key: value for key, value in {**RECIPE, **recipe}.items() if value is not None})
        )
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster or {}))
        return placement.read(tmp_path / "cluster.yaml", str(tmp_path / "recipe.yaml"), overrides, processes)

    return make


@pytest.mark.parametrize(("text", "told"), [
    ("servers: {cuont: 2}", r"servers\.cuont: unknown key; did you mean 'count'\?"),
    ("server: {count: 2}", r"server: unknown key; did you mean 'servers'\?"),
    ("adress: auto", r"adress: unknown key; did you mean 'address'\?"),
    ("servers: {count: 0}", r"servers\.count: must be a whole number greater than 0, got 0"),
    ("servers: {count: '2'}", r"servers\.count: .* got '2'; leave the quotes out"),
    ("servers: 2", r"servers: must be a mapping of keys \(count, gpus"),
    ("trainers: {gpus: 2}", r"trainers\.gpus: must be a whole number >= 0 and <= 1, got 2"),
    ("trainers: {where: strict}", r"trainers\.where: must be one of spread, pack"),
    ("servers: {resources: {a: -1}}", r"servers\.resources\.a: must be a number greater than 0"),
    ("wait_seconds: .inf", r"wait_seconds: must be a number greater than 0"),
    ("address: ray://10.0.0.7:10001", r"address: 'ray://10\.0\.0\.7:10001' is no address; write auto, or host:port"),
    ("address: 10.0.0.7", r"address: '10\.0\.0\.7' is no address"),
    ("[1]", r"holds \[1\]; it is a mapping"),
    ("a: [", "not YAML"),
    ("address: auto\naddress: auto", "key 'address' stands twice"),
])  # fmt: skip
def test_what_a_cluster_yaml_cannot_say_is_one_line(tmp_path, text, told):
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(RecipeError, match=rf"--cluster: .*{told}") as caught:
        config.read(tmp_path / "cluster.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named_with_the_one_that_is(tmp_path):
    (tmp_path / "cluster.yaml").write_text("")
    with pytest.raises(RecipeError, match=r"clutser\.yaml cannot be read .*cluster\.yaml"):
        config.read(tmp_path / "clutser.yaml")
    assert config.read(tmp_path / "cluster.yaml") == config.ClusterConfig()


@pytest.mark.parametrize("address", [None, "auto", "10.0.0.7:6379", "head:6379", "[fd00::7]:6379"])
def test_addresses_that_may_stand_there(address):
    assert config.ClusterConfig(address=address).address == address


@pytest.mark.parametrize(("recipe", "told"), [
    ({"engine": {"kind": "server", "urls": ["http://a:1"]}}, r"engine\.urls: \['http://a:1'\] beside --cluster, .* 2"),
    ({"engine": {"kind": "server", "replicas": 3}}, r"engine\.replicas: 3 beside --cluster, .* 2 of its own"),
    ({"engine": "local"}, r"engine\.kind: 'local' beside --cluster, which starts servers; write engine: server"),
    ({"engine": {"max_batch": 4}}, r"engine\.kind: 'auto' beside --cluster"),
    ({"engine": {"kind": "server", "tensor_parallel": 4}}, r"tensor_parallel: 4, and servers\.gpus of --cluster is 0"),
    ({"engine": {"kind": "server", "batch": 4}}, r"engine\.batch: unknown key"),
    ({"stages": [{"kind": "rl"}, {"kind": "eval", "engine": "vllm", "eval": {"sets": {"a": {"task": "addition"}}}}]},
     r"stage eval: engine\.kind: 'vllm' beside --cluster"),
    ({"kind": "reward_model", "engine": None, "max_new_tokens": None, "data": {"task": "addition_pairs", "size": 8}},
     "no stage samples"),
    ({"stages": "none"}, "stages: must be a list"),
])  # fmt: skip
def test_a_recipe_whose_servers_are_named_twice_or_not_at_all_is_refused(read, recipe, told):
    with pytest.raises(RecipeError, match=told):
        read({"servers": {"count": 2}}, 2, **recipe)


def test_every_stage_is_given_the_clusters_servers_and_nothing_else_changes(read):
    found = read({"servers": {"count": 3}}, 2, "engine.deadline=7.0", "seed=4", engine={"kind": "server"})
    assert found.processes == 2 and found.plan.seed == 4
    assert [(each.engine.kind, each.engine.replicas, each.engine.deadline) for each in found.plan.stages] == [
        ("server", 3, 7.0)
    ]
    two = read(None, None, stages=[{"kind": "sft"}, {"kind": "rl", "engine": {"kind": "server", "deadline": 9.0}}])
    assert [(each.engine.replicas, each.engine.deadline) for each in two.plan.stages] == [(1, 120.0), (1, 9.0)]


def test_a_launcher_beside_a_cluster_is_refused(read, monkeypatch):
    with pytest.raises(RecipeError, match="--processes: 0 must be at least 1"):
        read(None, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RecipeError, match="--cluster starts the processes itself, and a launcher started 4"):
        placement.read(Path("cluster.yaml"), "recipe.yaml", [], None)


MACHINE = {"CPU": 4.0, "GPU": 2.0}


@pytest.mark.parametrize(("servers", "trainers", "processes", "told"), [
    ({"count": 2, "gpus": 2}, {"gpus": 1}, 2, r"2 servers x 2 \+ 2 trainers x 1 = 6 GPU asked for, .* have 4;"),
    ({"count": 2}, {"cpus": 4}, 2, r"2 servers x 1 \+ 2 trainers x 4 = 10 CPU asked for, .* have 8"),
    ({"gpus": 3}, {}, 1, r"no machine of Ray's has room for one of the servers \(1 CPU, 3 GPU\)"),
    ({}, {"cpus": 5}, 1, r"no machine of Ray's has room for one of the trainers \(5 CPU\)"),
    ({"resources": {"rack": 1.0}}, {}, 1, r"1 servers x 1 = 1 rack asked for, and Ray's machines have 0"),
])  # fmt: skip
def test_more_than_the_machines_have_is_refused_with_the_sum(read, servers, trainers, processes, told):
    found = read({"servers": servers, "trainers": trainers}, processes)
    with pytest.raises(RecipeError, match=told):
        placement.require_room(found, [MACHINE, MACHINE])


def test_what_fits_is_not_refused(read):
    found = read({"servers": {"count": 2, "gpus": 1}, "trainers": {"gpus": 1}}, 2)
    placement.require_room(found, [MACHINE, MACHINE])
    assert placement.asked_for(found) == {"CPU": 4.0, "GPU": 4.0}


def test_slots_of_verifiers_on_ray_are_counted(read):
    coded = {"verifier": {"use": "code", "workers": "ray", "slots": 6}}
    found = read(None, 2, **coded)
    assert placement.asked_for(found)["CPU"] == 1 + 2 + 2 * 6 * 0.5
    with pytest.raises(RecipeError, match=r"12 slots of verifiers x 0\.5 = 9 CPU asked for, .* have 8"):
        placement.require_room(found, [MACHINE, MACHINE])


def test_the_servers_are_started_with_the_recipes_model_and_type(read):
    model = placement.served(read({"servers": {"cpus": 3}}))
    assert model == placement.ServedModel("embedded", "local", "float32", ("--threads", "3"))
    assert model.arguments("10.0.0.7", 81, "KEY") == [
        "serve", "embedded", "--engine", "local", "--dtype", "float32", "--host", "10.0.0.7", "--port", "81",
        "--key-env", "KEY", "--threads", "3",
    ]  # fmt: skip
    vllm = read({"servers": {"gpus": 2, "engine": "vllm"}, "trainers": {"gpus": 1}},
                engine={"kind": "server", "max_model_len": 64, "max_num_seqs": 9})  # fmt: skip
    model = placement.served(vllm)
    assert (model.kind, model.dtype) == ("vllm", "bfloat16")
    assert " ".join(model.options) == "--tensor-parallel-size 2 --max-num-seqs 9 --max-model-len 64"


@pytest.mark.parametrize(("cluster", "recipe", "told"), [
    ({"servers": {"gpus": 7, "engine": "vllm"}}, {}, r"servers\.gpus: 7 do not share \d+ attention heads evenly"),
    ({"servers": {"gpus": 2, "engine": "local"}}, {}, r"servers\.gpus: 2, and a server of the local engine takes 1"),
    ({}, {"stages": [{"kind": "rl"}, {"kind": "rl", "name": "b", "engine": {"kind": "server", "dtype": "bfloat16"}}]},
     "its servers compute in one type, and the stages ask for float32 and bfloat16"),
])  # fmt: skip
def test_servers_that_cannot_serve_all_stages_are_refused(read, cluster, recipe, told):
    with pytest.raises(RecipeError, match=told):
        placement.served(read(cluster, 1, **recipe))


def test_two_models_are_refused(read, tiny_model):
    stages = [{"kind": "rl"}, {"kind": "rl", "name": "b", "model": str(tiny_model)}]
    with pytest.raises(RecipeError, match="its servers serve one model, and the stages start from embedded and /"):
        placement.served(read(None, 1, stages=stages))


def place(node: str, gpus: str) -> Place:
    seen = {"version": "", "said": "", "missing": ()}
    return Place(node=node, host=node, address="10.0.0.1", port=99, gpus=gpus, **seen)


def test_trainers_get_what_a_launcher_would_tell_them():
    places = [place("a", "0"), place("a", "3"), place("b", "1")]
    found = placement.launcher_environments(places, True)
    assert [(each["RANK"], each["LOCAL_RANK"], each["LOCAL_WORLD_SIZE"]) for each in found] == [
        ("0", "0", "2"), ("1", "1", "2"), ("2", "0", "1")
    ]  # fmt: skip
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["0,3", "0,3", "1"]
    assert {(each["WORLD_SIZE"], each["MASTER_ADDR"], each["MASTER_PORT"]) for each in found} == {
        ("3", "10.0.0.1", "99")
    }
    assert "CUDA_VISIBLE_DEVICES" not in placement.launcher_environments(places, False)[0]


def test_a_dry_run_says_what_is_asked_and_whether_a_server_fits(read, monkeypatch):
    monkeypatch.setenv("R1LAB_SERVERS", "")
    small = {"servers": {"count": 2, "gpus": 1, "cpus": 4, "engine": "vllm"}, "trainers": {"gpus": 1}}
    text, refusal = preview.told(read(small, 4), device="h200")
    asked = "cluster: 2 servers (vllm, bfloat16; each 1 GPU and 4 CPUs) and 4 trainers (each 1 GPU and 1 CPU)"
    assert refusal is None and text.startswith(f"{asked}: 12 CPU, 6 GPU\n")
    assert "a server fits h200: at least 2.0 of 125.8 GiB a GPU" in text and "each of 4 processes" in text
    monkeypatch.setattr(preview, "SERVER_SHARE", 0.01)
    with pytest.raises(RecipeError, match=r"a server's 2\.0 GiB a GPU .* do not fit into 0\.01 of h200's 139\.8"):
        preview.told(read(small, 4), device="h200")


def test_ray_that_is_not_installed_is_told_with_its_extra(monkeypatch):
    from r1lab.cluster import driver

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"--cluster: Ray is not installed; run .*\[ray\]"), driver._joined(None):
        pass
