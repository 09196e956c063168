"""Completions made to hang, crash, execute or fool (the benchmark's): none takes long, is right, executes or raises."""

import asyncio
import importlib.util
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool


def load_classes():
    path = Path(__file__).parents[3] / "experiments" / "benchmarks" / "verify_math_hostile.py"
    spec = importlib.util.spec_from_file_location("verify_math_hostile", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLASSES = load_classes()
HOSTILE, B = CLASSES.HOSTILE, CLASSES.box


@pytest.fixture(scope="module")
def pool():
    with Pool({"math": resolve("math")}, workers=2, deadline=1.0) as made:
        made.submit(Item("1", "1"), "math").result()
        yield made


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_judged_in_time_and_wrong(pool, name):
    for gold in CLASSES.GOLDS:
        start = time.monotonic()
        verdict = pool.submit(Item(HOSTILE[name], gold, problem_id=gold), "math").result()
        assert time.monotonic() - start < 3.5
        assert verdict.score == ((name, gold) in CLASSES.RIGHT), verdict


CODE = """
__import__('os').system('touch {0}')
().__class__.__base__.__subclasses__()[0].__init__.__globals__['__builtins__']['open']('{0}', 'w')
open('{0}', 'w')
exec("open('{0}','w')")
eval("open('{0}','w')")
Lambda(x, open('{0}', 'w'))(1)
sympify("open('{0}','w')")
f{{open('{0}','w')}}
$(touch {0})
`touch {0}`
\\write18{{touch {0}}}
\\input{{|touch {0}}}
\\directlua{{os.execute('touch {0}')}}
"""


def test_nothing_that_a_completion_or_a_gold_says_is_executed(pool, tmp_path):
    canary = tmp_path / "canary"
    texts = CODE.format(canary).strip().splitlines()
    asked = [pool.submit(Item(frame % text, "7"), "math") for text in texts for frame in (r"\boxed{%s}", "%s", "$%s$")]
    asked += [pool.submit(Item(B("7"), text), "math") for text in texts]
    assert {future.result().score for future in asked} <= {0.0, None}
    assert not canary.exists()


def test_a_worker_killed_from_outside_costs_its_items_nothing_but_time():
    items = [Item(B(f"{n}+x"), f"x+{n % 50}") for n in range(1600)]
    with Pool({"math": resolve("math")}, workers=2, deadline=5.0) as pool:
        pool.submit(items[0], "math").result()
        template = psutil.Process(pool._server.pid)
        futures = [pool.submit(item, "math") for item in items]
        for wanted in (100, 700):
            futures[wanted].result()
            os.kill(template.children()[0].pid, signal.SIGKILL)
        verdicts = [future.result() for future in futures]
    assert [verdict.score for verdict in verdicts] == [float(n < 50) for n in range(1600)]
    assert {verdict.status for verdict in verdicts} == {"correct", "wrong"}


def test_a_tower_equals_itself_and_no_other(pool):
    tower = "9^{9^{9^9}}"
    assert pool.submit(Item(B(tower), tower), "math").result().score == 1
    assert pool.submit(Item(B(tower + "+1"), tower), "math").result().score == 0


@pytest.mark.parametrize("gold", ["", "  ", None, [], {"a": 1}, "7" * 100_000])
def test_a_gold_that_cannot_be_read_is_an_error(gold):
    assert resolve("math").build().verify(Item("5", gold)).status == "error"


def test_verdicts_are_the_same_from_threads_and_from_asyncio(pool):
    items = [Item(B(f"{n}/4"), "0.75") for n in range(40)] + [Item(text[:2000], "7") for text in HOSTILE.values()]

    def ask(item):
        return pool.submit(item, "math").result().score

    async def all_of_them():
        return await asyncio.gather(*(asyncio.wrap_future(pool.submit(item, "math")) for item in items))

    alone = [ask(item) for item in items]
    live = resolve("math").build()
    assert [live.verify(item).score for item in items] == alone  # in this thread, without a worker
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, items)) == alone
    assert [verdict.score for verdict in asyncio.run(all_of_them())] == alone
    assert sum(alone[:40]) == 1


@pytest.mark.parametrize("gold", ["", "  ", None, [], {"a": 1}, "7" * 100_000])
def test_such_a_gold_is_known_before_anything_is_judged(gold):
    assert "cannot be read" in resolve("math").build().check(gold)
    assert resolve("math").build().check("7") is None
