"""Small run folders written by hand; what the page says of them, and what it refuses."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lab.report import figures
from r1lab.report.pages import visible
from r1lab.report.report import contrasts, report, summary_table
from r1lab.report.runs import pick, read

HOSTILE = "<script>alert(1)</script> \x1b[31m \u202e &amp; {{ 7 * 7 }} </pre><img src=http://evil.example/x>"


def rl_row(step, **more):
    return {"stage": "rl", "step": step, "reward/mean": step / 10, "verdict/correct": 0.4, "verdict/wrong": 0.6,
            "completion/mean": 20, "completion/p95": None, "update/grad_norm": float("nan"), "mismatch/max": 1e-6,
            "tokens/budget": 100 * step, "time/rollout": 1.0, "time/total": 2.0} | more  # fmt: skip


def score(avg, low, high):
    return {"eval/held/avg": avg, "eval/held/low": low, "eval/held/high": high, "eval/held/problems": 4}


def write_run(folder, rows, manifest=None, tables=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, table in (tables or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table), path)
    return folder


def evaluation(right):
    return [{"problem_id": f"p{i}", "index": 0, "score": 1.0 if i < right else None} for i in range(4)]


def write_zero(folder, right=3):
    rows = [{"stage": "rl", "step": 0} | score(0, 0, 0.49), *map(rl_row, (1, 2)), rl_row(3) | score(right / 4, 0.3, 1)]
    rollouts = [
        {"draw": 0, "problem_id": "a", "text": "same", "reward": 0.0, "status": "wrong"},
        {"draw": 0, "problem_id": "a", "text": "same", "reward": 0.0, "status": "wrong"},
        {"draw": 1, "problem_id": "b", "text": HOSTILE, "prompt_text": HOSTILE, "reward": 0.0, "status": "wrong"},
        {"draw": 1, "problem_id": "b", "text": "the best", "reward": 1.0, "status": "correct", "reason": HOSTILE},
        {"draw": 2, "problem_id": "c", "text": "too slow", "reward": None, "status": "error"},
    ]
    tables = {
        "eval/rl-0-held/completions.parquet": evaluation(0),
        "eval/rl-3-held/completions.parquet": evaluation(right),
    }
    return write_run(folder, rows, {"name": "zero", "seed": 1}, tables | {"rollouts/rl-3.parquet": rollouts})


def write_sft(folder):
    rows = [{"stage": "warm", "step": 0} | score(0, 0, 0.49), {"stage": "warm", "step": 8, "loss/value": 2.0},
            {"stage": "rl", "step": 0, "tokens/budget": None}, rl_row(1) | {"tokens/budget": 500}]  # fmt: skip
    recipe = {"stages": [{"name": "warm", "kind": "sft"}, {"name": "rl", "kind": "rl"}]}
    return write_run(folder, rows, {"name": HOSTILE, "finished": False, "recipe": recipe, "notes": [HOSTILE]})


@pytest.fixture
def without_figures(monkeypatch):
    """For tests of words: drawing takes most of a page's time."""
    monkeypatch.setattr(figures, "CHARTS", ())


@pytest.fixture
def one_figure(monkeypatch):
    """For tests of where figures stand."""
    monkeypatch.setattr(figures, "CHARTS", [chart for chart in figures.CHARTS if chart.key == "reward"])


def page_of(*runs, **more):
    return report(runs, **more).read_text(encoding="utf-8")


def test_page_is_self_contained_and_escapes_what_the_model_wrote(tmp_path):
    page = page_of(write_zero(tmp_path / "zero"), write_sft(tmp_path / "sft"), notes=["a note", HOSTILE])
    sources = re.findall(r"""<[a-z]+[^>]*?\b(?:src|srcset|href|action)\s*=\s*["']?([^"'\s>]+)""", page)
    assert len(sources) > 10 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in page and "<link" not in page and "url(" not in page and "@import" not in page
    assert "<img src=http" not in page and "&lt;script&gt;alert(1)" in page and "{{ 7 * 7 }}" in page
    assert "\x1b" not in page and "\u202e" not in page and r"\u001b[31m \u202e" in page
    assert "<p>a note</p>" in page


def test_page_and_figures_stand_in_the_first_run_or_where_told(tmp_path):
    run = write_zero(tmp_path / "zero")
    assert report([run]) == run / "report" / "index.html"
    drawn = {path.stem: path.read_bytes() for path in (run / "report").glob("*.png")}
    assert set(drawn) == {"score", "reward", "verdicts", "length", "mismatch", "phases"}
    assert all(image.startswith(b"\x89PNG") and len(image) > 3000 for image in drawn.values())


def test_out_is_a_page_or_a_folder(tmp_path, without_figures):
    run = write_zero(tmp_path / "zero")
    assert report([run], tmp_path / "there") == tmp_path / "there" / "index.html"
    assert report([run], tmp_path / "my.html", labels=["mine"]).read_text().count("mine") > 2


def test_summary_takes_first_and_last_evaluation_and_pairs_the_gain(tmp_path):
    folder = write_zero(tmp_path / "zero")
    (line,) = summary_table([folder], [read(folder, {}, "zero")])
    assert (line.base.value, *line.final) == (0, 0.75, 0.3, 1, 4)
    # gains of 1, 1, 1, 0 over four problems: sd 1/2, sem 1/4, t(0.975, 3) = 3.18245
    assert line.gain == pytest.approx((0.75, 0.75 - 3.18245 / 4, 0.75 + 3.18245 / 4, 4), abs=1e-5)
    assert (line.steps, line.tokens, line.seconds, line.flops) == (3, 300, 6, None)


def test_runs_are_compared_only_on_the_same_problems(tmp_path, without_figures):
    folders = [write_zero(tmp_path / "a"), write_zero(tmp_path / "b", right=2), write_zero(tmp_path / "c")]
    other = [{"problem_id": f"q{i}", "score": 1.0} for i in range(4)]
    pq.write_table(pa.Table.from_pylist(other), folders[2] / "eval" / "rl-3-held" / "completions.parquet")
    found = contrasts(folders, [read(folder, {}, folder.name) for folder in folders])
    assert [(each.label, each.reference) for each in found] == [("b", "a"), ("c", "a")]
    assert found[0].difference.value == -0.25 and found[1].difference is None
    page = page_of(*folders, labels=["a", "b", "c"])
    assert "The interval holds zero" in page and "not compared" in page


def test_steps_and_budget_run_through_all_stages(tmp_path, without_figures):
    folder = write_sft(tmp_path / "sft")
    curves = read(folder, {}, "sft_rl")
    assert curves.sft == {"warm"}  # known without a manifest: it has a loss and no reward
    assert [row["at/step"] for row in curves.rows] == [0, 8, 8, 9]
    assert [row["at/tokens"] for row in curves.rows] == [0, 0, 0, 500]
    assert curves.series("sft/loss") == ([8], [2.0])
    assert "has not finished" in page_of(folder)


def test_missing_metrics_leave_figures_out(tmp_path):
    bare = write_run(tmp_path / "bare", [{"stage": "rl", "step": 1}])
    assert figures.draw([read(bare, {}, "bare")]) == []
    half = write_run(tmp_path / "half", [{"stage": "rl", "step": 1, "eval/x/n": 3, "eval/y/avg": 0.5}], {})
    (half / "metrics.jsonl").open("a").write('{"stage": "rl", "st')  # being written right now
    assert [each.key for each in figures.draw([read(half, {}, "half")])] == ["score"]
    assert "50.0 %" in page_of(half, bare)


def test_labels_of_any_kind_can_be_drawn(tmp_path):
    run = write_zero(tmp_path / "zero")
    curves = [read(run, {}, label) for label in (r"$\frac$", "_hidden", "x" * 200, HOSTILE)]
    chart = figures.Chart("reward", figures.paint_lines, "mean reward", (("reward/mean", ""),))
    assert len(figures._picture(chart, curves).light) > 3000


def test_equal_names_are_told_apart(tmp_path, without_figures):
    runs = [write_zero(tmp_path / name) for name in ("a", "b")]
    assert "<h1>a / b</h1>" in page_of(*runs)
    (runs[1] / "manifest.json").write_text('{"name": "zero", "seed": 2}')
    assert "<h1>zero, seed 1 / zero, seed 2</h1>" in page_of(*runs)


def test_same_run_gives_the_same_page(tmp_path):
    run = write_run(tmp_path / "run", [{"stage": "rl", "step": step, "reward/mean": step} for step in (1, 2)])
    assert page_of(run) == page_of(run)


def test_pick_takes_best_and_worst_of_a_mixed_group_and_another_status(tmp_path):
    rows = pq.read_table(write_zero(tmp_path / "zero") / "rollouts" / "rl-3.parquet").to_pylist()
    assert [row["text"] for row in pick(rows)] == ["the best", HOSTILE, "too slow"]
    assert [row["text"] for row in pick(rows[:2])] == ["same"]
    assert pick([]) == []


def test_visible_writes_out_what_hides_and_cuts_the_middle():
    assert visible("a\n\tb\x00\u200b\ud800") == "a\n\tb\\u0000\\u200b\\ud800"
    assert visible("a" * 10 + "b" * 10, longest=4) == "aa\n[... 16 characters left out ...]\nbb"


def test_first_and_last_samples_are_open_and_stand_before_the_curves(tmp_path, one_figure):
    run = write_zero(tmp_path / "zero")
    for step in (1, 2):
        (run / "rollouts" / f"rl-{step}.parquet").write_bytes((run / "rollouts" / "rl-3.parquet").read_bytes())
    page = page_of(run)
    assert page.index("What the model wrote") < page.index("How training went") < page.index("How it was run")
    # "<details open><summary>zero: rl, step 3<"; not "<details><summary>Words on this page<"
    found = re.findall(r"<details( open)?><summary>zero: rl, step (\d)<", page)
    assert found == [(" open", "1"), (" open", "3"), ("", "2")]


def test_a_difference_of_nothing_has_an_interval_with_width(tmp_path, without_figures):
    page = page_of(write_zero(tmp_path / "a"), write_zero(tmp_path / "b"))
    assert "[+0.0, +0.0]" not in page and "+0.0 points [-49.0, +49.0], paired by problem over 4 problems" in page
    assert "The interval holds zero" in page


def test_a_run_that_learned_nothing_is_warned_of(tmp_path, without_figures):
    rows = [rl_row(step, **{"reward/mean": 0.0, "reward/std": 0.0, "update/grad_norm": 0.0}) for step in (1, 2)]
    page = page_of(write_run(tmp_path / "dead", rows))
    said = "stage rl, from step 2 to its end: learned nothing: in all 2 steps every reward was 0"
    assert f"<strong>dead:</strong> {said}" in page and "no_signal (step 2) in 2 steps" in page
    assert "learned nothing" not in page_of(write_zero(tmp_path / "zero"))


SCALE = figures._scale


@pytest.fixture
def axes_of(monkeypatch):
    """Draw a chart; its axes, for a look at what is in them."""

    def draw(chart, *runs):
        seen = []
        monkeypatch.setattr(figures, "_scale", lambda ax, *how: (seen.append(ax), SCALE(ax, *how)))
        figures._picture(next(each for each in figures.CHARTS if each.key == chart), runs)
        return seen[0]

    return draw


def test_the_sft_stage_of_one_run_covers_no_other_runs_steps(tmp_path, axes_of):
    sft, zero = read(write_sft(tmp_path / "sft"), {}, "sft"), read(write_zero(tmp_path / "zero"), {}, "zero")
    alone, both = axes_of("reward", sft), axes_of("reward", zero, sft)
    assert [patch.get_bbox().extents.tolist()[1::2] for patch in alone.patches] == [[0.0, 1.0]]
    (bar,) = both.patches
    assert bar.get_y() > 1 and (bar.get_x(), bar.get_width()) == (0, 8), "nothing inside the axes is shaded"


@pytest.mark.parametrize("chart, key", [("kl", "policy/kl_rollout"), ("gradient", "update/grad_norm")])
def test_rounding_noise_is_no_spike(tmp_path, axes_of, chart, key):
    rows = [rl_row(step, **{key: 1e-13 if step == 2 else 0.0}) for step in (1, 2, 3)]
    axes = axes_of(chart, read(write_run(tmp_path / "run", rows), {}, "run"))
    assert list(axes.lines[0].get_ydata()) == [0, 0, 0] and axes.get_ylim()[1] >= 1e-5


def test_what_is_measured_stays_as_it_is(tmp_path, axes_of):
    rows = [rl_row(step, **{"policy/kl_rollout": 1e-3 * step, "completion/truncated": 0.002}) for step in (1, 2, 3)]
    run = read(write_run(tmp_path / "run", rows), {}, "run")
    assert list(axes_of("kl", run).lines[0].get_ydata()) == [1e-3, 2e-3, 3e-3]
    assert axes_of("truncated", run).get_ylim()[1] == 0.05


@pytest.mark.parametrize(
    "prepare, says",
    [
        (lambda folder: None, "no metrics.jsonl"),
        (lambda folder: (folder / "metrics.jsonl").write_text(""), "no rows"),
        (lambda folder: (folder / "metrics.jsonl").write_text('{"a"\n{"stage": "rl"}\n'), "line 1: not JSON"),
    ],
)
def test_folder_without_a_run_is_refused_in_one_line(tmp_path, prepare, says):
    prepare(tmp_path)
    with pytest.raises(ValueError, match=says) as error:
        report([tmp_path])
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_broken_table_and_wrong_number_of_labels_are_named(tmp_path, without_figures):
    run = write_zero(tmp_path / "zero")
    with pytest.raises(ValueError, match="1 runs and 2 labels"):
        report([run], labels=["a", "b"])
    (run / "rollouts" / "rl-3.parquet").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"rl-3\.parquet: not readable"):
        report([run])
