import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import psutil
import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

ACT = {"act": "plugins:Act"}


def family():
    return psutil.Process().children(recursive=True)


def test_importing_the_pool_is_quick_and_loads_nothing_heavy():
    heavy = {"torch", "transformers", "datasets", "sympy", "numpy", "reasoning_gym"}
    code = f"import sys; sys.path[:] = {sys.path!r}\nimport r1lab_verifiers.pool.pool\n"
    code += f"print({heavy!r} & sys.modules.keys())"
    start = time.monotonic()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "set()"
    assert time.monotonic() - start < 3  # a tenth of that on an idle machine


def test_verdicts_come_to_their_futures_in_any_order_of_finishing(pool):
    made = pool(parity="plugins:parity", grade={"use": "plugins:grade", "scale": 0.5})
    futures = [made.submit(Item("x" * n, "0"), "parity") for n in range(50)]
    assert [future.result(20).score for future in futures] == [float(n % 2 == 0) for n in range(50)]
    verdict = made.submit(Item("0.5", ""), "grade").result(20)
    assert (verdict.score, verdict.status) == (0.25, "partial") and verdict.seconds > 0


def test_it_may_be_used_from_many_threads(shared):
    seen = []

    def use():
        seen.extend(shared.submit(Item("x" * n, "0"), "parity").result(20).score == (n % 2 == 0) for n in range(20))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 80


CRASHES = ("exit", "sys.exit", "raise", "base", "odd", "recurse", "bomb", "kill", "close", "forge", "template", "breed")


def test_completions_that_break_their_checker_are_crashes_and_their_neighbours_are_none_the_worse(pool):
    made = pool(**ACT, deadline=10)
    futures = [made.submit(Item(act, ""), "act") for crash in CRASHES for act in (crash, "fine")]
    verdicts = [(verdict.score, verdict.status) for verdict in (future.result(60) for future in futures)]
    assert dict(zip(CRASHES, verdicts[::2])) == dict.fromkeys(CRASHES, (0.0, "crash"))
    assert verdicts[1::2] == [(1.0, "correct")] * len(CRASHES)


@pytest.mark.parametrize("act", ["hang", "sleep", "stop"])
def test_a_completion_that_hangs_its_checker_is_a_timeout_with_score_0(shared, act):
    verdict = shared.submit(Item(act, ""), "act").result(20)
    assert (verdict.score, verdict.status) == (0.0, "timeout")
    assert 1.0 <= verdict.seconds < 5  # two runs of half a second


def test_noise_threads_and_forks_do_no_harm(pool, capfd):
    made = pool(**ACT, deadline=10, workers=1)
    acts = [text for act in ("print", "stderr", "thread", "idle", "fork") for text in (act, "fine", act, "fine")]
    assert [made.submit(Item(text, ""), "act").result(20).score for text in acts] == [1.0] * 20
    assert "x" * 100 not in "".join(capfd.readouterr())


def test_a_worker_with_a_busy_thread_is_replaced_and_one_with_an_idle_thread_is_not(pool):
    made = pool(**ACT, deadline=10, workers=1)

    def worker_of(act):
        return made.submit(Item(act, ""), "act").result(20).reason

    assert worker_of("idle") == worker_of("fine") == worker_of("thread") != worker_of("fine")


def test_where_the_witness_fails_as_well_it_is_our_error(pool):
    made = pool(act={"use": "plugins:Act", "witness_act": "raise"})
    verdict = made.submit(Item("raise", ""), "act").result(20)
    assert (verdict.score, verdict.status) == (None, "error") and "ZeroDivisionError" in verdict.reason
    assert made.submit(Item("raise", ""), "act", solution="fine").result(20).status == "crash"


def test_a_failure_that_does_not_happen_again_is_no_verdict(shared, tmp_path):
    assert shared.submit(Item(str(tmp_path / "once"), ""), "once").result(20).score == 1


def test_retry_and_witness_run_alone_on_fresh_workers_and_a_passed_witness_is_run_once(pool, tmp_path):
    log = tmp_path / "log"
    made = pool(act={"use": "plugins:Act", "log": str(log)}, workers=1)
    for _ in range(2):
        assert made.submit(Item("raise", "", problem_id="p"), "act").result(20).status == "crash"
    runs = [line.split() for line in log.read_text().splitlines()]
    assert [text for text, _ in runs] == ["raise", "raise", "none", "raise", "raise"]
    assert len({pid for _, pid in runs}) == 5


def test_a_failed_item_waits_behind_all_others(pool, tmp_path):
    log = tmp_path / "log"
    made = pool(act={"use": "plugins:Act", "log": str(log)}, workers=1, deadline=0.3)
    futures = [made.submit(Item(text, ""), "act") for text in ("hang", "a", "hang", "b", "c")]
    assert [future.result(20).status for future in futures] == ["timeout", "correct", "timeout", "correct", "correct"]
    order = [line.split()[0] for line in log.read_text().splitlines()]
    assert order[:5] == ["hang", "a", "hang", "b", "c"] and sorted(order[5:]) == ["hang", "hang", "none", "none"]


def test_items_handed_out_together_wait_one_deadline_for_a_hostile_one_and_no_longer(pool):
    made = pool(**ACT, deadline=0.5, workers=1)
    made.submit(Item("fine", ""), "act").result(20)
    start = time.monotonic()
    futures = [made.submit(Item("hang" if n == 150 else "fine", ""), "act") for n in range(400)]
    verdicts = [futures[n].result(20) for n in range(400) if n != 150]
    assert 0.5 <= time.monotonic() - start < 4
    assert {(verdict.score, verdict.status) for verdict in verdicts} == {(1.0, "correct")}
    assert max(verdict.seconds for verdict in verdicts) < 0.5
    assert futures[150].result(20).status == "timeout"


def test_large_items_and_items_that_cannot_be_sent_among_others_lose_none(pool):
    made = pool(**ACT, deadline=10, workers=1)
    items = [
        Item("fine" + " " * (10**6 if n % 50 == 0 else 0), "", meta={"f": print if n != 77 else lambda: 0})
        for n in range(300)
    ]
    futures = [made.submit(item, "act") for item in items]
    assert [future.result(20).score for n, future in enumerate(futures) if n != 77] == [1.0] * 299
    with pytest.raises(Exception, match="pickle"):
        futures[77].result(20)


@pytest.mark.parametrize("text", ["float('nan')", "1.5", "-0.1", "'yes'", "lambda: 0", "[1] * 10**6", "object()"])
def test_what_is_no_score_is_an_error_that_names_the_verifier(shared, text):
    verdict = shared.submit(Item(text, ""), "returns").result(20)
    assert (verdict.score, verdict.status) == (None, "error")
    assert "plugins:returns returned" in verdict.reason and len(verdict.reason) <= 500


def test_texts_are_cut_and_a_returned_timeout_is_a_verdict_and_not_a_failure(shared):
    verdict = shared.submit(Item("Verdict(0.0, 'timeout', 'e' * 10**7, '\\ud800' * 10**7)", ""), "returns").result(20)
    assert (verdict.status, verdict.extracted, verdict.reason) == ("timeout", "e" * 200, "?" * 500)
    steps = shared.submit(Item("Verdict(0.5, 'partial', steps=((3, 1), (9, 0.0)))", ""), "returns").result(20).steps
    assert steps == ((3, 1.0), (9, 0.0))


def test_a_slow_constructor_has_its_own_deadline_and_one_that_hangs_or_raises_is_an_error(pool, shared):
    assert pool(slow="plugins:Slow", deadline=0.4).submit(Item("", ""), "slow").result(20).score == 1.0
    never = pool(never="plugins:NeverMade", build_deadline=0.2)
    assert never.submit(Item("", ""), "never").result(20).status == "error"
    verdict = shared.submit(Item("", ""), "broken").result(20)
    assert verdict.status == "error" and "no licence file" in verdict.reason


def test_a_template_killed_from_outside_is_replaced(pool):
    made = pool(**ACT, deadline=10)
    assert made.submit(Item("fine", ""), "act").result(20).score == 1.0
    os.kill(made._server.pid, signal.SIGKILL)
    assert [made.submit(Item("fine", ""), "act").result(20).score for _ in range(5)] == [1.0] * 5


def test_close_cancels_what_waits_and_leaves_nothing_running(folder):
    before, threads = family(), threading.active_count()
    made = Pool({"act": resolve("plugins:Act", [folder]), "async": resolve("plugins:Async", [folder])}, deadline=100)
    futures = [made.submit(Item("hang", ""), name) for name in ("act", "act", "act", "async", "async", "async")]
    time.sleep(0.3)
    start = time.monotonic()
    made.close()
    assert time.monotonic() - start < 5
    assert all(future.cancelled() for future in futures)
    assert family() == before and threading.active_count() == threads
    with pytest.raises(CancelledError):
        futures[0].result()
    with pytest.raises(RuntimeError, match="closed"):
        made.submit(Item("", ""), "act")


def test_isolated_verifiers_run_in_the_parent_on_one_thread_with_the_same_blame(pool):
    made = pool(isolated="plugins:Async", deadline=0.3)
    verdicts = [made.submit(Item(text, ""), "isolated") for text in ("a", "hang", "raise", "b")]
    verdicts = [future.result(20) for future in verdicts]
    assert [verdict.status for verdict in verdicts] == ["correct", "timeout", "crash", "correct"]
    assert {verdicts[0].reason, verdicts[3].reason} == {"verify-isolated"}


def test_an_unknown_verifier_and_senseless_limits_are_refused(shared):
    with pytest.raises(ValueError, match="'nope' is not in this pool's table: act"):
        shared.submit(Item("", ""), "nope")
    with pytest.raises(ValueError, match="workers 0"):
        Pool({}, workers=0)


def test_an_item_that_cannot_be_sent_is_an_exception_and_not_a_hang(shared):
    with pytest.raises(Exception, match="pickle"):
        shared.submit(Item("", "", meta={"f": lambda: 0}), "act").result(20)
    assert shared.submit(Item("fine", ""), "act").result(20).score == 1.0
