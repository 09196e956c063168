"""What the doctor tries on a GPU, by answers made up: no test has one."""

import pytest

from r1lab.doctor import doctor, gpu, hardware, probes, versions
from r1lab.doctor.finding import ProbeAnswer

GOOD = {"error": 0.003, "free": 138 * 2**30, "total": 139 * 2**30, "capability": [9, 0]}


def answers(*gpus, **others):
    made = {"product": ProbeAnswer({"gpus": list(gpus or [GOOD])}), "flash": ProbeAnswer(), "flex": ProbeAnswer()}
    return {**made, "together": ProbeAnswer({"count": len(gpus), "apart": []}), **others}


def states(given):
    return {each.name: each.state for each in gpu.findings(given)}


def test_a_gpu_that_does_everything_is_ok_and_one_alone_is_asked_for_no_company():
    found = states(answers())
    assert found.pop("/dev/shm") in ("ok", "note")
    assert found == {"cuda:0": "ok", "flash attention": "ok", "flex attention": "ok"}
    assert gpu.findings({}) == []


@pytest.mark.parametrize(
    "change, state, said",
    [
        ({"error": 0.5}, "broken", "a bfloat16 product is off by 0.5"),
        ({"error": float("nan")}, "broken", "off by nan"),
        ({"capability": [7, 5]}, "note", "no bfloat16 in hardware"),
        ({"free": 30 * 2**30}, "note", "30 of 139 GiB free"),
        ({}, "ok", "compute capability 9.0, 138 of 139 GiB free"),
    ],
)
def test_each_gpu_is_judged_by_itself(change, state, said):
    first, second, *_ = gpu.findings(answers(GOOD, GOOD | change))
    assert first.state == "ok" and second.state == state and said in second.detail
    assert bool(second.remedy) == (state != "ok")


@pytest.mark.parametrize(
    "name, finding, remedy",
    [
        ("product", "bfloat16", "nvidia-smi"),
        ("flash", "flash attention", "reinstall torch"),
        ("flex", "flex attention", "attention: padded"),
        ("together", "NCCL", "NCCL_DEBUG"),
    ],
)
def test_what_fails_or_hangs_has_a_remedy_and_the_rest_is_told(name, finding, remedy):
    given = answers(GOOD, GOOD, **{name: ProbeAnswer(problem="no answer within 120 s")})
    found = {each.name: each for each in gpu.findings(given)}
    assert (found[finding].state, found[finding].is_fatal) == ("broken", False) and remedy in found[finding].remedy
    assert len(found) >= (4 if name == "product" else 6) - (name == "together")


def test_an_attention_that_compiles_anew_for_each_row_and_gpus_apart_are_notes():
    several = {"flex": ProbeAnswer({"graphs": 12}), "together": ProbeAnswer({"count": 2, "apart": [[0, 1]]})}
    found = {each.name: each for each in gpu.findings(answers(GOOD, GOOD, **several))}
    assert found["flex attention"].state == found["peer access"].state == "note"
    assert "0-1" in found["peer access"].detail


def test_shared_memory_that_is_small_or_missing_is_a_note(tmp_path, monkeypatch):
    assert gpu.shared_memory(str(tmp_path / "none")).state == "note"
    monkeypatch.setattr(gpu, "SHARED_GIB", 10**9)
    assert "--shm-size" in gpu.shared_memory(str(tmp_path)).remedy


def test_products_and_flash_attention_are_tried_on_what_there_is():
    (facts,) = gpu.product("cpu")["gpus"]
    assert 0 < facts["error"] < gpu.MOST_ERROR
    assert gpu.flash("cpu") == {"finite": True}


def test_each_check_is_a_child_with_a_deadline_where_there_is_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(hardware, "has_nvidia", lambda: True)
    monkeypatch.setattr(probes, "ask", lambda *question, deadline: asked.append((question, deadline)) or ProbeAnswer())
    doctor.gather({})
    assert {question for question, _ in asked if question[0] == "on_gpu"} == {("on_gpu", name) for name in gpu.TRIED}
    assert all(0 < deadline <= probes.DEADLINE_SECONDS for _, deadline in asked)
    assert probes.ask  # the real one comes back after the test


def test_a_tree_that_is_not_installed_knows_its_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(versions.importlib.metadata, "distribution", _absent)
    read = versions.ranges()
    assert read[""]["torch"] == ">=2.11,<2.14" and "pydantic" in read[""] and read["gpu"]["triton"] == ">=3.6"
    monkeypatch.setattr(versions, "version", lambda name: None)
    found = {each.name: each for each in versions.packages(read)}
    assert found["r1lab"].state == "note" and "pyproject.toml" in found["r1lab"].detail
    assert found["pydantic"].is_fatal and found["python"].state == "ok"
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    assert versions.ranges() == {}


def _absent(name):
    raise versions.importlib.metadata.PackageNotFoundError(name)
