"""A plug-in that hangs while it is imported is refused; what is slow, or imported in another thread, is not."""

import signal
import sys
import threading
import time

import pytest

from r1lab import plugin as parts
from r1lab.errors import RecipeError
from r1lab_verifiers import plugin, resolve

SLEEPS = "import time\ntime.sleep(1e9)\ndef f(c, a): return True\n"
SPINS = "while True: pass\ndef f(c, a): return True\n"
CATCHES = (
    "import time\nfor _ in range(3):\n    try: time.sleep(1e9)\n    except Exception: pass\ndef f(c, a): return True\n"
)
SLOW = "import time\ntime.sleep(0.1)\ndef f(c, a): return True\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """module(text) -> the name of a module with this text; an import may take 0.3 s."""
    monkeypatch.setattr(plugin, "IMPORT_SECONDS", 0.3)
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str) -> str:
        name = f"late_{len(list(tmp_path.iterdir()))}_{time.monotonic_ns()}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield make
    for name in [name for name in sys.modules if name.startswith("late_")]:
        del sys.modules[name]


@pytest.mark.parametrize("text", [SLEEPS, SPINS])
def test_a_module_that_hangs_is_refused_in_one_line(module, text):
    name = module(text)
    with pytest.raises(ValueError, match=r"does not import: TimeoutError: not done within 0\.3 s") as end:
        resolve(f"{name}:f")
    assert "\n" not in str(end.value)
    with pytest.raises(RecipeError, match=r"^advantage: .* does not import: TimeoutError: not done within 0\.3 s"):
        parts.find({}, f"{module(text)}:f", "advantage")


def test_one_that_catches_what_is_raised_is_asked_again(module, monkeypatch):
    assert resolve(f"{module(CATCHES)}:f").path.endswith(":f")  # three times woken, and then it is done


def test_a_slow_one_is_imported_and_nothing_of_the_deadline_is_left(module):
    before, left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    assert resolve(f"{module(SLOW)}:f").path.endswith(":f")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == pytest.approx(left, abs=5)  # the suite's own, if it has one


def test_a_line_says_that_it_goes_on(module, monkeypatch, capsys):
    monkeypatch.setattr(plugin, "IMPORT_TOLD_SECONDS", 0.05)
    name = module(SLOW)
    resolve(f"{name}:f")
    assert capsys.readouterr().err == f"'{name}:f' is still being imported; it has 0.3 s\n"


def test_another_thread_has_no_deadline(module):
    name, found = module(SLOW), []
    thread = threading.Thread(target=lambda: found.append(resolve(f"{name}:f")))
    thread.start()
    thread.join()
    assert found[0].path == f"{name}:f"
