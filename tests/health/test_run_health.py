"""Health in a run: what stands in metrics.jsonl, what a resume makes of it, what is told and what is silenced."""

import json

import pytest

import r1lab
from r1lab.errors import RecipeError
from r1lab.run.metrics import MetricsFile
from r1lab.run.progress import Progress

CUT = {"stage": "rl", "reward/mean": 0.5, "reward/std": 0.5, "completion/truncated": 0.9, "update/grad_norm": 0.1}


def test_a_resumed_file_has_the_bytes_of_an_unbroken_one(tmp_path):
    straight, broken = MetricsFile(tmp_path / "straight.jsonl"), MetricsFile(tmp_path / "broken.jsonl")
    told = [straight.append({**CUT, "step": step}) for step in range(1, 9)]
    for step in range(1, 5):
        broken.append({**CUT, "step": step})
    state = broken.state_dict()
    for step in (5, 6):
        broken.append({**CUT, "step": step})
    again = MetricsFile(tmp_path / "broken.jsonl")
    again.load_state_dict(state)
    assert [again.append({**CUT, "step": step}) for step in range(5, 9)] == told[4:]
    assert (tmp_path / "broken.jsonl").read_bytes() == (tmp_path / "straight.jsonl").read_bytes()
    assert [len(new) for new in told] == [0, 0, 0, 0, 1, 0, 0, 0]


def test_a_stage_that_another_process_left_begins_anew_behind_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in range(1, 5):
        first.append({**CUT, "step": step})
    second = MetricsFile(path)
    assert second.append({**CUT, "stage": "other", "step": 1}) == []
    assert json.loads(path.read_text().splitlines()[-1])["health/truncation"] is None


SMALL = {
    "name": "dead", "data": {"task": "multiplication", "size": 16, "settings": {"digits": 4}},
    "prompt": {"format": "Q: {prompt}\nA:"}, "max_new_tokens": 4, "prompts_per_step": 2, "group_size": 2,
    "threads": 1, "workers": {"count": 1}, "steps": 14, "print_samples": 0,
}  # fmt: skip


def told(capsys, tmp_path, **knobs):
    run = r1lab.train({**SMALL, **knobs}, f"out={tmp_path / 'run'}")
    return run, [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: stage")]


def test_a_run_is_told_of_once_and_diagnosed_alike(capsys, tmp_path):
    run, lines = told(capsys, tmp_path)
    assert [line.split(": ")[1:3] for line in lines] == [
        ["stage rl, step 5", "truncation"], ["stage rl, step 10", "no_signal"],
    ]  # fmt: skip
    assert [row["health/no_signal"] for row in run.metrics] == [None] * 9 + [1] * 5
    found = r1lab.diagnose(run.path)
    assert [(alarm.rule, alarm.step, alarm.last_step) for alarm in found.alarms] == [
        ("truncation", 5, 14), ("no_signal", 10, 14),
    ]  # fmt: skip


def test_silenced_rules_change_no_byte_and_no_signal_ends_a_stage(capsys, tmp_path):
    run, lines = told(capsys, tmp_path / "a", health={"off": ["truncation", "no_signal"]})
    assert lines == [] and len(run.metrics) == 14 and r1lab.diagnose(run.path).alarms == []
    ended, lines = told(capsys, tmp_path / "b", stop={"no_signal": 3})
    assert lines == ["warning: stage rl ended early: 3 steps in a row without signal (stop.no_signal)"]
    steady = lambda row: {key: value for key, value in row.items() if not key.startswith("time/")}  # noqa: E731
    assert list(map(steady, ended.metrics)) == list(map(steady, run.metrics[:3]))


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"health": {"off": ["no_signl"]}}, "health.off: 'no_signl' is no rule; did you mean 'no_signal'?"),
        ({"kind": "sft", "stop": {"no_signal": 3}}, "stop.no_signal: no stage is of kind rl"),
        ({"stop": {"no_signal": 0}}, "stop.no_signal: must be"),
    ],
)
def test_what_a_recipe_cannot_say(knobs, said, tmp_path):
    recipe = {**SMALL, "data": {"task": "addition", "size": 4}, **knobs}
    if knobs.get("kind"):
        del recipe["group_size"], recipe["print_samples"]
    with pytest.raises(RecipeError) as end:
        r1lab.train(recipe, f"out={tmp_path / 'run'}")
    assert said in str(end.value) and "\n" not in str(end.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no metrics.jsonl; give the folder of a run"),
        ("", "no rows"),
        ("[1]\n{}\n", "no JSON object"),
        ("{\n{}\n", "not JSON"),
    ],
)
def test_what_is_no_run_is_one_line(text, said, tmp_path):
    if text is not None:
        (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(RecipeError) as end:
        r1lab.diagnose(tmp_path)
    assert said in str(end.value) and "\n" not in str(end.value)


def test_hostile_rows_and_manifests_end_nothing(tmp_path):
    rows = [
        {"stage": ["x"], "step": "one", "reward/mean": 1, "verdict/timeout": "many", "second/judged": 3} for _ in "ab"
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for manifest in (
        "[]",
        '{"recipe": 3}',
        '{"recipe": {"stages": [{"health": 3}, {"name": "x", "health": {"off": 3}}]}}',
    ):
        (tmp_path / "manifest.json").write_text(manifest)
        assert r1lab.diagnose(tmp_path).text()


def test_progress_is_quiet_where_it_is_told_so(capsys, tmp_path):
    from r1lab import pipeline
    from r1lab.recipe import load

    raw, base = load.read({**SMALL, "steps": 1}, [f"out={tmp_path / 'run'}"])
    pipeline.train(load.resolve(raw, base), Progress(quiet=True))
    assert "warning: stage" not in capsys.readouterr().err
