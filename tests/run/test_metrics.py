"""Rows of metrics: by hand, null where there was nothing to measure, and the file they go to."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from r1lab.errors import RunError
from r1lab.records import Group, Role, Sample, Scored, Settled, Update
from r1lab.run.metrics import RATIO_BINS, MetricsFile, rollout_metrics, update_metrics
from r1lab_data import Problem
from r1lab_verifiers.verdict import STATUSES, Verdict


def kept(group, reason="kept"):
    return Settled(group, group if reason == "kept" else None, reason)


def judged(group, *verdicts):
    return replace(group, members=tuple(replace(m, verdict=v) for m, v in zip(group.members, verdicts)))


def update(**rows):
    """An update whose rows are given where they matter."""
    size = len(rows.get("logp", [0]))
    columns = {"logp": -1.0, "entropy": 0.5, "old": -1.0, "engine": -1.0, "ref": -1.0, "advantage": 1.0, "scale": 1.0}
    made = {key: np.broadcast_to(np.asarray(rows.get(key, value), np.float32), size) for key, value in columns.items()}
    made["sequence"] = np.broadcast_to(np.asarray(rows.get("sequence", 0)), size)
    made["role"] = np.broadcast_to(np.asarray(rows.get("role", Role.POLICY)), size)
    return Update(loss=2.0, grad_norm=0.5, learning_rate=1e-3, forwarded_tokens=9, rows=made)


POLICY_KEYS = (
    "policy/kl_rollout", "policy/kl_ref", "ratio/mean", "ratio/min", "ratio/max", "loss/clip_low", "loss/clip_high",
    "mismatch/mean", "mismatch/p99", "mismatch/max", *RATIO_BINS,
)  # fmt: skip
EMPTY = Update(loss=0.0, grad_norm=0.0, learning_rate=2e-3, forwarded_tokens=0, rows={})


def test_rollouts_by_hand(make_group):
    wrong, right, error = Verdict(0.0, "wrong"), Verdict(1.0, "correct"), Verdict(None, "error")
    first = judged(make_group([1.0, 0.0], lengths=[2, 4]), right, wrong)
    second = judged(make_group([0.5, None], draw=1, lengths=[6, 8]), Verdict(0.5, "partial"), error)
    row = rollout_metrics([kept(first), kept(second, "error")])
    # rewards 1, 0, 0.5: mean 0.5, variance (0.25 + 0.25 + 0) / 3
    assert row["reward/mean"] == 0.5 and row["reward/std"] == pytest.approx(math.sqrt(1 / 6))
    assert row["reward/part/score"] == 0.5 and row["pass/share"] == 0.25
    assert (
        row["completion/mean"] == 5 and row["completion/p95"] == pytest.approx(7.7) and row["completion/truncated"] == 0
    )
    assert {key: value for key, value in row.items() if key.startswith("verdict/") and value} == {
        "verdict/correct": 0.25, "verdict/wrong": 0.25, "verdict/partial": 0.25, "verdict/error": 0.25,
    }  # fmt: skip
    assert {key: value for key, value in row.items() if key.startswith("group/")} == {
        "group/drawn": 2, "group/kept": 1, "group/dropped": 1, "group/dropped/error": 1, "group/zero_variance": 0.5,
    }  # fmt: skip


def test_a_group_of_errors_says_nothing_of_variance(make_group):
    errors = kept(make_group([None, None]), "error")
    assert rollout_metrics([errors])["group/zero_variance"] is None
    assert rollout_metrics([errors, kept(make_group([1.0, 1.0], 1))])["group/zero_variance"] == 1.0
    assert rollout_metrics([errors])["reward/mean"] is None and rollout_metrics([errors])["reward/std"] is None


def test_a_block_of_demonstrations_is_null_and_counts_its_groups(make_group, make_rollout):
    group = make_group([1.0])
    shown = Group(group.draw, (Scored(make_rollout((5,), (7,), role=Role.DEMO), None, 1.0),))
    row = rollout_metrics([kept(shown)])
    counts = {"group/drawn": 1, "group/kept": 1, "group/dropped": 0}
    assert {key: value for key, value in row.items() if value is not None} == counts
    assert set(row) == set(rollout_metrics([])) and {f"verdict/{status}" for status in STATUSES} <= set(row)


def test_several_sources_are_told_apart(make_group):
    one, two = make_group([1.0]), make_group([1.0], 1)
    other = replace(two, draw=two.draw._replace(problem=Problem("p", "q", "a", source="z")))
    row = rollout_metrics([kept(one), kept(judged(other, Verdict(0.0, "wrong")))])
    assert (row["pass/s"], row["pass/z"]) == (1.0, 0.0) and "pass/s" not in rollout_metrics([kept(one)])


def test_updates_by_hand(make_samples):
    half, double = math.log(0.5), math.log(2)
    first = update(
        logp=[-1.0, -1.0, -1.0, -1.0], old=[-1.0, -1 - half, -1 - double, -1 - double], advantage=[1, -1, 1, -1],
        engine=[-1.0, -1.0, -1.5, -1.0], ref=[-1.0, -1.0, -1.0, -1 + double],
    )  # fmt: skip
    samples = [replace(s, left_out=why) for s, why in zip(make_samples(4), ("", "zero_advantage", "masked", ""))]
    row = update_metrics([first, EMPTY], samples, (0.2, 0.28))
    # ratios 1, 1/2 (A < 0), 2 (A > 0), 2 (A < 0); gaps 0, log 2, log 2 - 0.5, log 2
    assert (row["ratio/mean"], row["ratio/min"], row["ratio/max"]) == pytest.approx((5.5 / 4, 0.5, 2.0), rel=1e-6)
    assert (row["loss/clip_low"], row["loss/clip_high"]) == (0.25, 0.25)
    assert row["mismatch/max"] == pytest.approx(double, rel=1e-6)
    assert row["mismatch/mean"] == pytest.approx((3 * double - 0.5) / 4, rel=1e-6)
    assert row["policy/kl_rollout"] == pytest.approx(
        (math.exp(0.5) - 1.5) / 4, rel=1e-6
    )  # exp(d) - 1 - d, d = 0.5 once
    assert row["policy/kl_ref"] == pytest.approx((2 - 1 - double) / 4, rel=1e-6) and row["policy/entropy"] == 0.5
    assert (row["loss/value"], row["update/grad_norm"], row["update/learning_rate"]) == (1.0, 0.25, 2e-3)
    assert (row["update/empty"], row["update/forwarded_share"]) == (1, 0.5)
    assert (row["update/zero_advantage"], row["update/masked"], row["update/nonfinite"]) == (1, 1, 0)


def test_a_mismatch_is_told_by_its_tail_and_by_shares_of_ratios(make_samples):
    gaps = [0.0] * 97 + [-1.0, 0.4, 3.0]  # ratios 1, 0.37, 1.49, 20
    row = update_metrics([update(logp=[-9.0] * 100, old=np.array(gaps) - 5, engine=-5.0)], make_samples(1), None)
    assert row["mismatch/mean"] == pytest.approx(0.044) and row["mismatch/max"] == 3
    assert row["mismatch/p99"] == pytest.approx(1.02)  # at 98.01 of 0 to 99: between 1 and 3
    assert {key.removeprefix("mismatch/ratio/"): row[key] for key in RATIO_BINS if row[key]} == {
        "0_0.5": 0.01, "0.95_1.05": 0.97, "1.25_2.0": 0.01, "2.0_inf": 0.01,
    }  # fmt: skip


def test_a_clip_of_sequences_counts_sequences():
    rows = {"logp": [-1.0, -0.8, -1.0, -1.5], "old": -1.0, "advantage": [1.0, 1.0, -1.0, -1.0], "scale": [1, 1, 1, 1]}
    rows["sequence"] = [3, 3, 4, 4]  # mean log-ratios 0.1 and -0.25
    row = update_metrics([update(**rows)], [], (0.2, 0.05), True)
    assert (row["loss/clip_low"], row["loss/clip_high"]) == (0.5, 0.5)
    row = update_metrics([update(**rows)], [], (0.2, 0.05))
    assert (row["loss/clip_low"], row["loss/clip_high"]) == (0.25, 0.25)


def test_where_nothing_was_forwarded_policy_statistics_are_null(make_samples):
    row = update_metrics([EMPTY], make_samples(1), (0.2, 0.2))
    assert all(row[key] is None for key in ("policy/entropy", *POLICY_KEYS))
    assert update_metrics([EMPTY], [], None)["update/forwarded_share"] is None


def test_rows_of_demonstrations_have_no_policy_statistics():
    row = update_metrics([update(logp=[-1.0, -2.0], role=Role.DEMO, engine=math.nan)], [], None)
    assert all(row[key] is None for key in POLICY_KEYS) and row["policy/entropy"] == 0.5
    mixed = update_metrics([update(logp=[-1.0, -9.0], role=[Role.POLICY, Role.DEMO])], [], (0.2, 0.2))
    assert mixed["ratio/max"] == 1.0 and mixed["policy/kl_rollout"] == 0.0


def test_what_does_not_exist_is_null_not_zero():
    row = update_metrics([update(logp=[-1.0], ref=math.nan)], [], None)
    assert row["policy/kl_ref"] is row["loss/clip_low"] is row["loss/clip_high"] is None and row["ratio/mean"] == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_log_probabilities_that_are_not_finite_are_counted_and_measured_apart(make_rollout, bad):
    row = update_metrics([update(logp=[-1.0, -1.0], engine=[bad, -1.0], old=[bad, -1.0])], [], (0.2, 0.2))
    assert (row["ratio/max"], row["mismatch/max"], row["policy/kl_rollout"], row["loss/clip_high"]) == (1, 0, 0, 0)
    rollout = make_rollout((3,), (4, 5, 6), engine=[bad, -1.0, bad])
    sample = Sample(rollout, rollout.role, np.zeros(3), np.zeros(3))
    assert update_metrics([EMPTY], [sample], None)["update/nonfinite"] == 2


def test_a_row_is_one_line_of_json_and_what_is_not_finite_is_null(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"a": np.float32(0.5), "b": math.nan, "c": None, "d": math.inf, "e": True, "f": 3, "g": "é"})
    file.append({"a": 1})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"a": 0.5, "b": None, "c": None, "d": None, "e": True, "f": 3, "g": "é"}, {"a": 1},
    ]  # fmt: skip


def test_the_file_is_cut_back_to_a_checkpoint_and_never_grown(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"a": 1})
    state = file.state_dict()
    file.append({"a": 2})
    again = MetricsFile(tmp_path / "metrics.jsonl")
    again.load_state_dict(state)
    assert again.size == state["size"] and (tmp_path / "metrics.jsonl").read_text() == '{"a": 1}\n'
    with pytest.raises(RunError, match=r"has 9 bytes where 99 were written; restore it"):
        again.truncate(99)
