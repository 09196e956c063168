"""The benchmark of the loss head compares paths that compute the same gradients."""

import json
import subprocess
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


def test_a_path_that_is_absent_or_too_large_takes_no_other_part_along(scripts, given, monkeypatch, capsys):
    def absent(_):
        raise scripts[1].Absent("trl")

    def too_large(_):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB")

    paths = {"one_pass": lambda _: None, "mixed": too_large, "trl": absent, "three_matmuls": lambda _: None}
    monkeypatch.setattr(scripts[0], "PATHS", paths)
    monkeypatch.setattr(scripts[0], "peak", lambda name, given: paths[name](given) or 7.0)
    monkeypatch.setattr(scripts[0], "errors", too_large)
    asked = scripts[0].argparse.Namespace(device="cuda")
    for name in ("recompute", "scoring", "full"):
        paths[name] = absent
    assert scripts[0].peaks(asked, given) == {"one_pass": 7.0}
    said = capsys.readouterr().err
    assert "peak of mixed: not run (CUDA out of memory.)" in said and "peak of trl: not run (trl)" in said
    kept = []
    scripts[0].measure(given, list(paths), 2, lambda seconds: kept.append(len(seconds["one_pass"])))
    assert kept == [1, 2]


def test_figures_are_written_after_every_part(scripts, monkeypatch, tmp_path):
    file, seen = tmp_path / "rows.json", []
    monkeypatch.setattr(sys, "argv", ["loss_head.py", "--rows", "8", "--dimension", "16", "--vocabulary", "64",
                                      "--repeats", "1", "--json", str(file)])  # fmt: skip

    def unmeasured(*_):
        raise torch.OutOfMemoryError("no room")

    def ended(*_):
        seen.extend(json.loads(file.read_text()))
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts[0], "errors", unmeasured)
    monkeypatch.setattr(scripts[0], "peaks", lambda *_: {"one_pass": 1.0, "full": 10.0})
    monkeypatch.setattr(scripts[0], "measure", ended)
    with pytest.raises(KeyboardInterrupt):
        scripts[0].main()
    rows = {row["name"]: row for row in seen}
    assert rows["peak_vs_full"]["value"] == 0.1 and rows["logprob_error"]["value"] is None
    assert not rows["logprob_error"]["holds"] and not rows["vs_three_matmuls"]["holds"]


def test_a_benchmark_that_fails_keeps_its_figures_and_what_it_said(scripts, monkeypatch, tmp_path, capsys):
    import loss_head_gpu

    def run(command, timeout, stderr):
        stderr.write("turn 1\nthe last word\n")
        file = Path(command[command.index("--json") + 1])
        file.write_text(json.dumps([{"name": "vs_three_matmuls", "value": 1.1, "limit": 1.15, "holds": True}]))
        raise loss_head_gpu.subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(loss_head_gpu.subprocess, "run", run)
    kept, ended = loss_head_gpu.benchmark(tmp_path, "smollm2", 9)
    assert (kept["name"], kept["value"]) == ("smollm2 vs_three_matmuls", 1.1)
    assert ended["name"] == "smollm2 benchmark to its end" and not ended["holds"]
    assert "the last word" in capsys.readouterr().err and "turn 1" in (tmp_path / "gpu-smollm2.stderr").read_text()


def test_a_check_that_cannot_run_is_a_row_and_the_next_runs(scripts, monkeypatch):
    pytest.importorskip("triton")
    import loss_head_gpu

    def fails(*_):
        raise RuntimeError("PTX\nerror")

    monkeypatch.setattr(loss_head_gpu, "DEVICE", "cpu")
    monkeypatch.setattr(loss_head_gpu, "differences", fails)
    monkeypatch.setattr(loss_head_gpu, "GRIDS", [(5, 300, 16)] * 2)
    names = [row["name"] for row in loss_head_gpu.checks() if not row["holds"]]
    failed = [f"{kind} 5x16x300" for kind in ("float32", "float32", "bfloat16", "bfloat16")] + ["anchor and confidence"]
    assert names == [f"{name}: RuntimeError PTX error" for name in failed]


BARE = """
import importlib.abc, runpy, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"pydantic", "datasets", "trl", "liger_kernel"}:
            raise ImportError(f"no {name} on a bare image")

sys.meta_path = [Missing(), *(finder for finder in sys.meta_path if "editable" not in repr(finder).lower())]
root, script, *sys.argv = sys.argv[1:]
sys.path = [path for path in sys.path if path and not path.startswith(root + "/") or "site-packages" in path]
sys.path = [path for path in sys.path if path != root]
sys.path.insert(0, script.rpartition("/")[0])
sys.argv.insert(0, script)
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.slow
def test_the_benchmark_runs_from_a_tree_that_is_not_installed_without_pydantic_and_datasets(tmp_path):
    file, root = tmp_path / "rows.json", str(FOLDER.parents[1])
    sizes = ["--rows", "8", "--dimension", "16", "--vocabulary", "64", "--repeats", "1", "--json", str(file)]
    command = [sys.executable, "-c", BARE, root, str(FOLDER / "loss_head.py"), *sizes]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "trl: not run (trl)" in done.stderr, done.stderr[-2000:]
    values = {row["name"]: row["value"] for row in json.loads(file.read_text())}
    assert values["vs_three_matmuls"] > 0 and values["logprob_error"] < 2e-5


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
