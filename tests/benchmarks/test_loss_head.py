"""The benchmark of the loss head compares paths that compute the same gradients."""

import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The script and its paths; their folder comes first on the path, as when they are run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("loss_head", "loss_head_gpu", "loss_head_memory", "loss_head_paths"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import loss_head
    import loss_head_paths

    return loss_head, loss_head_paths


@pytest.fixture
def given(scripts):
    return scripts[1].make(64, 32, 500, "cpu", torch.float32)


@pytest.mark.parametrize("path", ["one_pass", "recompute", "trl", "trl_chunked", "mixed"])
def test_a_path_has_the_gradients_of_full_logits(scripts, given, monkeypatch, path):
    made, leaves = [], scripts[1].Given.leaves
    monkeypatch.setattr(scripts[1].Given, "leaves", lambda each: made.append(leaves(each)) or made[-1])
    try:
        for name in (path, "full"):
            scripts[1].PATHS[name](given)
    except scripts[1].Absent as absent:
        pytest.skip(f"{absent} is not installed")
    for ours, theirs in zip(*made):
        error = (ours.grad - theirs.grad).norm() / theirs.grad.norm()
        assert error <= (5e-3 if path == "mixed" else 1e-5)


def test_absent_packages_are_not_run_and_their_limits_do_not_hold(scripts, given, monkeypatch, capsys):
    def absent(_):
        raise scripts[1].Absent("trl")

    monkeypatch.setitem(scripts[1].PATHS, "trl", absent)
    seconds = scripts[0].measure(given, ["one_pass", "three_matmuls", "trl"], 1)
    assert set(seconds) == {"one_pass", "three_matmuls"} and "trl: not run (trl)" in capsys.readouterr().err
    rows = {row["name"]: row for row in scripts[0].rows_of("cpu", seconds, {"one_pass": 1, "full": 10}, {}, {})}
    assert rows["vs_trl"]["value"] is None and not rows["vs_trl"]["holds"]
    assert rows["peak_vs_full"]["value"] == 0.1 and rows["peak_vs_full"]["holds"]
    assert "not run" in scripts[0].table(list(rows.values()))


def test_errors_are_measured_against_float64(scripts):
    wrong = scripts[0].errors(16, 32, 500, "cpu", torch.float32)
    assert wrong["logprob_error"] < 2e-5 and wrong["weight_gradient_error"] < 1e-5
    assert wrong["mixed_weight_gradient_error"] < 4e-3


def test_the_checks_for_a_gpu_hold_in_the_interpreter(scripts, monkeypatch):
    pytest.importorskip("triton")
    import loss_head_gpu

    from r1lab.kernels import triton_fused

    for tile in (triton_fused.TILE, triton_fused.FLOAT32_TILE):
        for name, size in (("ROWS", 16), ("COLUMNS", 512)):
            monkeypatch.setitem(tile, name, size)
    monkeypatch.setattr(loss_head_gpu, "DEVICE", "cpu")
    monkeypatch.setattr(loss_head_gpu, "GRIDS", [(5, 300, 16)])
    monkeypatch.setattr(loss_head_gpu, "SHAPE", (6, 64, 200))
    rows = list(loss_head_gpu.checks())
    # In the interpreter bfloat16 is truncated where it is stored: gradients have twice the room.
    wrong = [row for row in rows if row["value"] > row["limit"] * (2 if row["name"].endswith("gradients") else 1)]
    assert wrong == [] and len(rows) == 2 * 2 * 3 + 4 + 4 + 1


def test_the_table_of_memory_counts_each_part_once(scripts):
    pytest.importorskip("triton")
    import loss_head_memory

    sizes = loss_head_memory.parts("Qwen2.5-1.5B")
    # 1.54 billion weights of 4 bytes, tied; logits 16384 x 151936 x 4 bytes
    assert sizes["weights"] == sizes["gradients"] == pytest.approx(4 * 1.5437e9, rel=1e-3)
    assert sizes["full logits, three float32 copies"] == 3 * 4 * 16384 * 151936
    assert sizes["head: exponentials"] == 2 * 4096 * 151936
