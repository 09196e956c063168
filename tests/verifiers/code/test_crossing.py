"""What crosses between the jail of the tests and that of the program, and what is told apart as not crossing."""

import pytest

from r1lab_verifiers import Item, resolve
from r1lab_verifiers.pool.pool import Pool

pytestmark = pytest.mark.sandbox
PROGRAM = '''
import contextlib, dataclasses, datetime, enum, functools, json, math, pathlib
from collections import namedtuple

@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    def norm(self): return math.hypot(self.x, self.y)
    def plus(self, other): return Point(self.x + other.x, self.y + other.y)
    def __lt__(self, other): return self.x < other.x

class Bag:
    limit = 3
    def __init__(self, items=()): self.items = list(items)
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __contains__(self, item): return item in self.items
    def __getitem__(self, place): return self.items[place]
    def __add__(self, other): return Bag(self.items + other.items)
    def __rmul__(self, times): return Bag(self.items * times)
    def __eq__(self, other): return isinstance(other, Bag) and self.items == other.items
    def __hash__(self): return hash(tuple(self.items))
    def __bool__(self): return bool(self.items)
    def __enter__(self): return self
    def __exit__(self, *_): self.items.clear()
    @property
    def first(self): return self.items[0]
    @staticmethod
    def make(n): return Bag(range(n))
    @classmethod
    def empty(cls): return cls()

class Small(Bag): pass
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
def other(colour): return Colour(3 - colour.value)
class Level(enum.IntEnum):
    LOW = 1
class Word(str, enum.Enum):
    YES = "y"
class Neg(ValueError):
    def __init__(self, text, code=7):
        super().__init__(text)
        self.code = code
class Node:
    def __init__(self, v, nxt=None): self.v, self.nxt = v, nxt
class Once:
    only = None
    def __new__(cls):
        cls.only = cls.only or super().__new__(cls)
        return cls.only
class Odd(Exception):
    def area(self): return 4
Row = namedtuple("Row", "a b")

def build(items):
    head = None
    for v in reversed(items): head = Node(v, head)
    return head
def total(node): return node.v + (total(node.nxt) if node.nxt else 0)
def apply(function, items): return [function(item) for item in items]
def twice(function): return lambda *args: function(*args) * 2
def counted(function):
    def inner(*args):
        inner.calls += 1
        return function(*args)
    inner.calls = 0
    return inner
def adder(n): return lambda x: x + n
def documented(a, b=2, *args, **kw):
    """Doc."""
    return a
def fill(d): d["k"] = 1
def nested(items): items[0].append(9)
def same(x): return x
def unique(items):
    items[:] = sorted(set(items))
    return len(items)
def ordered(items):
    items.sort()
    return items
def when(): return datetime.date(2020, 1, 2)
def at(): return datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
def folder(): return pathlib.Path("/a") / "b"
def row(): return Row(1, 2)
def missing(): open("/nowhere")
def say(x): print("hi", x)
async def later(x): return x + 1
def neg(text): raise Neg(text)
def bad(text): raise ValueError(text)
def bad_json(text): return json.loads(text)
def chained():
    try: {}["k"]
    except KeyError as error: raise RuntimeError("outer") from error
@functools.lru_cache
def cached(n): return n
@contextlib.contextmanager
def opened():
    yield 5
def double(a): return a * 2
def eye(n):
    import numpy as np
    return np.eye(n)
def grow(n):
    while True:
        yield n
        n += 1
'''


@pytest.fixture(scope="module")
def judge():
    with Pool({"code": resolve({"use": "code", "time_limit": 2})}, workers=2) as pool:
        yield lambda program, answer: judged(pool, [program], answer)[0]


@pytest.fixture(scope="module")
def judge_all():
    with Pool({"code": resolve({"use": "code", "time_limit": 2})}, workers=2) as pool:
        yield lambda programs, answer: judged(pool, programs, answer)


def judged(pool, programs, answer):
    futures = [pool.submit(Item(f"```python\n{program}\n```", answer), "code") for program in programs]
    return [future.result(100) for future in futures]


MODULES = ("asyncio", "datetime", "inspect", "io", "contextlib", "json", "pathlib", "numpy as np")


def pytest_style(names, body):
    """A test file that imports what its body speaks of: with all of it, a jail takes three times as long to start."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    needed = [module for module in MODULES if f"{module.split()[-1]}." in body]
    return {"test": f"import {', '.join(['pytest', *needed])}\nfrom solution import {names}\ndef test_a():\n{lines}"}


CROSSING = [
    ("Point", "p = Point(3, 4)\nassert p.x == 3 and p.norm() == 5.0 and repr(Point(1)) == 'Point(x=1, y=0)'"),
    ("Point", "p = Point(3, 4)\np.x = 0\nassert p.norm() == 4.0 and p.plus(p).y == 8"),
    ("Point", "assert Point(1, 2) == Point(1, 2) and Point(1) != Point(2) and [Point(1)] == [Point(1)]"),
    ("Point", "assert sorted([Point(2), Point(1)]) == [Point(1), Point(2)] and Point(1) != None"),
    ("Bag", "b = Bag([1, 2])\nassert len(b) == 2 and list(b) == [1, 2] and 2 in b and 3 not in b and b[1] == 2"),
    (
        "Bag",
        "assert Bag([1]) + Bag([2]) == Bag([1, 2]) and 2 * Bag([1]) == Bag([1, 1]) and {Bag([1]), Bag([1])} != set()",
    ),
    ("Bag", "assert not Bag() and Bag([1])\nassert len({Bag([1]), Bag([1])}) == 1"),
    ("Bag", "with Bag([1]) as b:\n    assert len(b) == 1\nassert len(b) == 0"),
    ("Bag", "assert Bag([5]).first == 5 and Bag.limit == 3 and len(Bag.make(3)) == 3 and len(Bag.empty()) == 0"),
    ("Bag, Small", "s = Small([1])\nassert isinstance(s, Bag) and issubclass(Small, Bag) and not isinstance(3, Bag)"),
    ("Colour", "assert len(list(Colour)) == 2 and Colour.RED.value == 1 and Colour(2) is Colour.BLUE"),
    ("Colour", "assert Colour.RED == Colour.RED and Colour.RED != Colour.BLUE and Colour['RED'].name == 'RED'"),
    ("Level, Word", "assert Level.LOW == 1 and Level.LOW.name == 'LOW' and Word.YES == 'y' and Word.YES.value == 'y'"),
    ("Level", "assert isinstance(Level.LOW, Level) and Level(1) is Level.LOW and Level.LOW + 1 == 2"),
    ("Colour, other", "assert other(Colour.RED) is Colour.BLUE and other(Colour.BLUE) == Colour.RED"),
    ("build", "h = build([1, 2, 3])\nassert h.v == 1 and h.nxt.v == 2 and h.nxt.nxt.nxt is None"),
    ("build", "h, found = build([1, 2]), []\nwhile h:\n    found.append(h.v)\n    h = h.nxt\nassert found == [1, 2]"),
    ("build, total", "assert total(build([1, 2, 3])) == 6"),
    ("Node, total", "n = Node(1, Node(2))\nassert total(n) == 3 and n.nxt.v == 2"),
    ("Once", "a, b = Once(), Once()\nassert a is b"),
    ("Odd", "assert Odd('x').area() == 4"),
    ("apply", "assert apply(lambda x: x * 2, [1, 2]) == [2, 4] and apply(str, [1]) == ['1']"),
    ("twice", "g = twice(lambda x: x + 1)\nassert g(3) == 8"),
    ("counted", "@counted\ndef g(x):\n    return x\ng(1)\ng(2)\nassert g.calls == 2"),
    ("adder", "assert adder(3)(4) == 7"),
    ("documented", "assert documented.__doc__ == 'Doc.' and documented.__name__ == 'documented'"),
    ("documented", "assert list(inspect.signature(documented).parameters) == ['a', 'b', 'args', 'kw']"),
    ("Bag", "b = Bag()\nb.items.append(3)\nassert b.items == [3] and len(b) == 1"),
    ("Row, row", "assert row() == Row(1, 2) == (1, 2) and Row(1, 2).b == 2 and isinstance(row(), Row)"),
    ("missing", "with pytest.raises(FileNotFoundError) as e:\n    missing()\nassert e.value.errno == 2"),
    ("fill", "d = {}\nfill(d)\nassert d == {'k': 1}"),
    ("nested", "x = [[1]]\nnested(x)\nassert x == [[1, 9]]"),
    ("same", "x = [1]\nassert same(x) is x"),
    ("unique", "x = [2, 1, 2]\nk = unique(x)\nassert x[:k] == [1, 2]"),
    ("ordered", "x = [2, 1]\nassert ordered(x) is x and x == [1, 2]"),
    ("when, at", "assert when() == datetime.date(2020, 1, 2) and at().tzinfo == datetime.timezone.utc"),
    ("folder", "assert folder() == pathlib.Path('/a/b')"),
    ("row", "r = row()\nassert r == (1, 2) and r.b == 2"),
    ("say", "b = io.StringIO()\nwith contextlib.redirect_stdout(b):\n    say(3)\nassert b.getvalue() == 'hi 3\\n'"),
    ("later", "assert asyncio.run(later(1)) == 2"),
    ("grow", "g = grow(2)\nassert next(g) == 2 and next(g) == 3"),
    ("Neg, neg", "with pytest.raises(Neg) as e:\n    neg('no')\nassert str(e.value) == 'no' and e.value.code == 7"),
    ("neg", "with pytest.raises(ValueError, match='^no$'):\n    neg('no')"),
    (
        "bad",
        "with pytest.raises(ValueError) as e:\n    bad('no')\nassert e.value.args == ('no',) and e.type is ValueError",
    ),
    ("bad", "try:\n    bad('no')\nexcept ValueError as e:\n    assert str(e) == 'no'\nelse:\n    assert False"),
    ("bad_json", "with pytest.raises(json.JSONDecodeError) as e:\n    bad_json('{')\nassert e.value.pos == 1"),
    (
        "chained",
        "with pytest.raises(RuntimeError) as e:\n    chained()\nassert isinstance(e.value.__cause__, KeyError)",
    ),
    ("cached", "assert cached(3) == 3 and cached.cache_info().misses == 1"),
    ("opened", "with opened() as x:\n    assert x == 5"),
    ("double", "assert np.array_equal(double(np.array([1, 2])), np.array([2, 4]))"),
    ("eye", "r = eye(2)\nassert r.shape == (2, 2) and r.sum() == 2 and r[0].tolist() == pytest.approx([1, 0])"),
]


@pytest.mark.parametrize(("names", "body"), CROSSING)
def test_what_plain_pytest_passes_passes_across_the_wall(judge, names, body):
    verdict = judge(PROGRAM, pytest_style(names, body))
    assert (verdict.score, verdict.status) == (1.0, "correct"), verdict


@pytest.mark.parametrize(("names", "body"), [
    ("total", "class N:\n    v, nxt = 1, None\nassert total(N()) == 1"),
    ("Bag", "class Mine(Bag):\n    pass\nassert len(Mine([1])) == 1"),
    ("build", "h = build([1])\nassert h == [1]"),
])  # fmt: skip
def test_what_does_not_cross_has_a_status_of_its_own(judge, names, body):
    verdict = judge(PROGRAM, pytest_style(names, body))
    assert (verdict.score, verdict.status) == (0.0, "crossing"), verdict


YES = "    def {0}(self, *_): return True\n"
LIES = ("__eq__", "__contains__", "__bool__", "startswith", "isupper", "get", "issubset", "all")
LIAR = (
    "class f:\n    def __init__(self, *_): pass\n" + "".join(YES.format(name) for name in LIES)
    + "    def __len__(self): return 2\n    def __iter__(self): return iter([])\n"
)  # fmt: skip


SOLVER = LIAR.replace("class f:", "class Liar:").replace("Liar:", "Liar(Solution):")
SOLVERS = tuple("class Solution:\n    pass\n" + SOLVER + how for how in (
    "Solution.f = lambda s, x: Liar()", "Solution.f = Liar", "Solution.f = staticmethod(lambda *_: Liar())",
    "Solution.f = property(lambda s: lambda x: Liar())",
    "Solution = Liar\nLiar.f = lambda s, x: s"))  # fmt: skip
LIARS = (LIAR, LIAR.replace("class f", "class F") + "f = F",
         LIAR.replace("class f", "class F") + "def f(x): return F()")  # fmt: skip


@pytest.mark.parametrize("body", [
    "assert r == [1, 2]", "assert r.startswith('x')", "assert 2 in r", "assert len(r) == 2 and all(x > 5 for x in r)",
    "assert r.get('k') == 3", "assert r < 5", "assert r.__eq__([1, 2])", "assert sorted([r]) == [1]",
    "assert {1}.issubset(r)", "assert r == f(4) == 7", "assert r.all()", "assert isinstance(r, list)",
    "try:\n    assert r == 7\nexcept BaseException:\n    pass",
    "with pytest.raises(BaseException):\n    assert r == 7", "assert sum(r) == 0 and max(r) == 5",
])  # fmt: skip
def test_an_object_answers_for_no_built_in_value(judge_all, body):
    verdicts = judge_all(LIARS, pytest_style("f", f"r = f(3)\n{body}"))
    body = body.replace(" f(4)", " Solution().f(4)")
    verdicts += judge_all(SOLVERS, pytest_style("Solution", f"s = Solution()\nr = s.f(3)\n{body}"))
    for verdict in verdicts:
        assert verdict.score == 0.0 and verdict.status != "error", verdict


@pytest.mark.parametrize(("program", "names", "body"), [
    ("class P:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return True\ndef shift(p): return P(0)",
     "P, shift", "assert shift(P(1)) == P(2)"),
    ("class P:\n    def __init__(self, x): pass\n    def __eq__(self, o): return True\ndef shift(p): return P(0)",
     "P, shift", "assert shift(P(1)) == P(2)"),
    ("class P:\n    def __init__(self, x): self.k = 1\n    def __eq__(self, o): return True\ndef shift(p): return P(0)",
     "P, shift", "assert shift(P(1)) == P(2)"),
    ("last = []\nclass P:\n    def __init__(self, x): last.append(self)\n    def __len__(self): return 2\n"
     "    def __iter__(self): return iter([])\ndef shift(p): return last[0]",
     "P, shift", "r = shift(P(1))\nassert len(r) == 2 and all(x > 5 for x in r)"),
    ("class C:\n    def __enter__(self): return self\n    def __exit__(self, *_): return True",
     "C", "with C() as c:\n    assert 1 == 2"),
    ("class C:\n    def __enter__(self): return self\n    def __exit__(self, *_): return True",
     "C", "with C() as c:\n    assert c.missing == 2"),
    ("def run(g):\n    try: g(1)\n    except BaseException: pass", "run",
     "def g(x):\n    assert x == 2\nrun(g)"),
    ("def f(x): raise StopIteration", "f", "assert [y for y in map(f, [1, 2])] == [1, 2]"),
    ("def f(x):\n    x.clear()\n    return []", "f", "x = [2, 1]\nassert f(x) == sorted(x)"),
    ("def f(x):\n    x[:] = [0]\n    return x", "f", "x = [2, 1]\nassert f(x) == sorted(x)"),
    ("import unittest.mock as helper", "helper", "r = helper.ANY\nassert r == [7]"),
    ("import unittest.mock\nf = unittest.mock.MagicMock()", "f", "r = f(3)\nassert r.area(2)\nassert r == 3"),
    ("def f(x):\n    import numpy as np\n    return np.array([1, 2])", "f", "r = f(1)\nassert r == [1, 2]"),
])  # fmt: skip
def test_a_program_decides_nothing_for_the_tests(judge, program, names, body):
    verdict = judge(program, pytest_style(names, body))
    assert verdict.score == 0.0 and verdict.status != "error", verdict


SHAPES = (
    "class {0}(Exception): pass", "class {0}: pass", "{0} = 3", "import math as {0}", "{0} = print",
    "def {0}(*_): raise StopIteration",
    "{0} = type('{0}', (ValueError,), {{}})", "def {0}(*_): return object()", "{0} = None", "pass",
    "class {0}(str): pass", "import enum\nclass {0}(enum.Enum): pass", "def {0}(*_): return iter(int, 1)",
)  # fmt: skip
"""What a program may make of a name."""
CATCHING = (
    "def test_a():\n    from solution import Bad\n    try:\n        int('x')\n    except Bad:\n        assert 0\n"
)
MATCHING = "import re\nfrom solution import WORDS\ndef test_a():\n    m = re.match(WORDS, 'a')\n    assert m\n"


@pytest.mark.parametrize(("name", "answer"), [
    ("Stack", pytest_style("Stack", "s = Stack()\ns.push(1)\nx = [s.pop()]\nassert sorted(x) == [1]")),
    ("DATA", pytest_style("DATA", "assert len(DATA) == 3 and sorted(DATA) == [1, 2, 3]")),
    ("WORDS", {"test": MATCHING}),
    ("add", {"entry_point": "add", "test": "def check(c):\n    x = [c(1, 2)]\n    assert sorted(x) == [3]"}),
    ("add", {"entry_point": "add", "test": "def check(c):\n    x = c('a')\n    assert x.isalpha() and len(x) == 5"}),
    ("Bad", pytest_style("Bad", "with pytest.raises(Bad):\n    raise KeyError(Bad)\nassert Bad(3) < 2")),
    ("Bad", {"test": CATCHING}),
    ("f", {"test_list": ["x = f(1)\nfor y in x + [1]:\n    assert y == 2", "assert f[0] == 1", "assert '%d' % f == '1'"]
           }),
])  # fmt: skip
def test_no_program_makes_its_verdict_an_error(judge_all, name, answer):
    for verdict in judge_all([shape.format(name) for shape in SHAPES], answer):
        assert verdict.status != "error" and verdict.score < 1.0, verdict


def test_printed_text_is_seen_by_capsys(judge):
    test = (
        "from solution import say\ndef test_a(capsys):\n    say(3)\n    assert capsys.readouterr().out == 'hi 3\\n'\n"
    )
    assert judge(PROGRAM, {"test": test}).status == "correct"
    assert judge("def say(x): print('ho', x)", {"test": test}).status == "wrong"
