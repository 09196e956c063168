"""Programs that try to pass without being right, or to do harm: classes of attacks, several variants each."""

import re

import pytest

from verifiers import Item, resolve
from verifiers.pool import Pool

pytestmark = pytest.mark.sandbox
STDIN = {"inputs": ["3 4\n", "10 -2\n", "0 0\n"], "outputs": ["7", "8", "0"]}
CALLS = {"fn_name": "add", "inputs": [[3, 4], [10, -2], [0, 0]], "outputs": [7, 8, 0]}
CHECK = {"entry_point": "add", "test": "def check(candidate):\n    assert candidate(3, 4) == 7\n    assert candidate(0, 0) == 0"}
LOOP = {"entry_point": "add", "test": "def check(candidate):\n    for a in range(1, 3):\n        assert candidate(a, a) == 2 * a"}
PYTEST = {"test": "from solution import add\n\ndef test_a():\n    assert add(3, 4) == 7\n\ndef test_b():\n    x = add(1, 1)\n    assert x == 2"}
ASSERTS = {"test_list": ["assert add(3, 4) == 7", "assert set([add(1, 1)]) == {2}"]}

READS = "a, b = map(int, input().split())\n"
WRONG = {
    "equal_int": "class T(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\ndef add(a, b): return T(99)",
    "equal_object": "class T:\n    def __eq__(s, o): return True\n    def __bool__(s): return True\ndef add(a, b): return T()",
    "equal_str": "class T(str):\n    def __eq__(s, o): return True\ndef add(a, b): return T('x')",
    "equal_list": "class T(list):\n    def __eq__(s, o): return True\ndef add(a, b): return T()",
    "reflected": "class T(float):\n    def __req__(s, o): return True\n    __eq__ = lambda s, o: True\ndef add(a, b): return T(5.0)",
    "metaclass": "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
    "class T(metaclass=M): pass\ndef add(a, b): return T",
    "type_lies": "class T(int):\n    __class__ = property(lambda s: int)\n    def __eq__(s, o): return True\n"
    "def add(a, b): return T(50)",
    "frames": "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()) + "
    "list(f.f_globals.values()):\n            if isinstance(v, list): v.append([True, '', '']); v.append('passed')\n"
    "        f = f.f_back\n    return None",
    "gc": "import gc\ndef add(a, b):\n    for o in gc.get_objects():\n        if isinstance(o, dict):\n"
    "            for k in ('expected', 'outputs', 'output', 'want'):\n                if k in o: return o[k]\n    return None",
    "patch_json": "import json\njson.dumps = lambda *a, **k: '{\"value\": 7}'\ndef add(a, b): return 'x'",
    "patch_plain": "import sys\nm = sys.modules['sandbox.plain']\nm.encode = lambda *a, **k: True\n"
    "m.dumps = lambda *a, **k: 'true'\ndef add(a, b): return object()",
    "patch_builtins": "import builtins\nbuiltins.type = lambda *a: int\nbuiltins.isinstance = lambda *a: True\n"
    "def add(a, b): return -1",
    "shadow_builtins": "def set(x): return {2}\ndef len(x): return 7\ndef all(x): return True\ndef add(a, b): return -5",
    "exit_in_call": "import os\ndef add(a, b): os._exit(0)",
    "sys_exit_in_call": "import sys\ndef add(a, b): sys.exit(0)",
    "exit_at_import": "import sys\nsys.exit(0)\ndef add(a, b): return a + b",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return 1 / 0",
    "raise_exit": "def add(a, b): raise SystemExit(0)",
    "kill_self": "import os\ndef add(a, b):\n    os.kill(os.getpid(), 9)\n    os.abort()",
    "forge_line": "import os, json, struct\ndef add(a, b):\n    for fd in range(3, 64):\n        try: os.write(fd, struct.pack('!I', 25)"
    " + b'{\"nonce\": \"\", \"value\": 7}')\n        except OSError: pass\n    os._exit(0)",
    "forge_done": "import os, json, struct\nm = json.dumps({'done': [[True, '', '']] * 2}).encode()\n"
    "for fd in range(3, 64):\n    try: os.write(fd, struct.pack('!I', len(m)) + m)\n    except OSError: pass\n"
    "def add(a, b): return None",
    "answers_ahead": "import os, json, struct, sys\ndef add(a, b):\n    f = sys._getframe()\n    n = None\n    while f:\n"
    "        n = f.f_locals.get('nonce', n); f = f.f_back\n    for v in (1, 2, 3):\n"
    "        m = json.dumps({'nonce': n, 'value': v}).encode()\n        os.write(4, struct.pack('!I', len(m)) + m)\n"
    "    os._exit(0)",
    "generator": "def add(a, b):\n    yield 7",
    "coroutine": "async def add(a, b): return a + b",
    "closure": "def add(a, b): return lambda: a + b",
    "nested": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "deep": "def add(a, b):\n    x = 0\n    for _ in range(100000): x = [x]\n    return x",
    "shared_bomb": "def add(a, b):\n    x = []\n    for _ in range(60): x = [x, x]\n    return x",
    "huge_int": "def add(a, b): return 1 << 10_000_000",
    "huge_str": "def add(a, b): return 'x' * 50_000_000",
    "nan": "def add(a, b): return float('nan')",
    "bytes": "def add(a, b): return b'7'",
    "text": "def add(a, b): return str(a + b)",
    "decimal_nan": "from decimal import Decimal\ndef add(a, b): return Decimal('sNaN')",
    "patched_unittest": "import unittest, builtins\nbuiltins.AssertionError = ZeroDivisionError\ndef add(a, b): return None",
    "optimise": "import sys, ctypes\nsys.flags\ndef add(a, b): return None",
    "profile": "import sys\nsys.setprofile(lambda *a: None)\nsys.settrace(lambda *a: None)\ndef add(a, b): return 12",
    "stack_patch": "import ctypes\ndef add(a, b):\n    ctypes.c_long.from_address(id(7) + 24).value = 8\n    return -1",
    "del_modules": "import sys\nsys.modules.clear()\ndef add(a, b): return -1",
    "stdin_again": "def add(a, b): return int(input())",
    "raises_odd": "class E(BaseException):\n    def __str__(s): raise s\ndef add(a, b): raise E",
    "no_function": "def plus(a, b): return a + b",
    "not_callable": "add = 7",
}  # fmt: skip


@pytest.fixture(scope="module")
def judge():
    with Pool({"code": resolve({"use": "code", "time_limit": 3.0})}, workers=2) as pool:
        yield lambda text, answer, **item: pool.submit(
            Item(f"```python\n{text}\n```", answer, **item), "code"
        ).result(160)


@pytest.mark.parametrize("name", WRONG)
def test_no_wrong_function_passes_a_test_in_any_form(judge, name):
    for answer in (CALLS, CHECK, LOOP, PYTEST, ASSERTS):
        verdict = judge(WRONG[name], answer)
        assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout"), (answer, verdict)


def test_a_right_function_passes_every_form(judge):
    for answer in (CALLS, CHECK, LOOP, PYTEST, ASSERTS):
        assert judge("def add(a, b): return a + b", answer).status == "correct"


PRINTS_RIGHT = READS + "print(a + b)\n"
STDIN_ATTACKS = {
    "nothing": "",
    "exit_first": "import os; os._exit(0)",
    "right_then_crash": PRINTS_RIGHT + "1 / 0",
    "right_then_code": PRINTS_RIGHT + "import sys; sys.exit(3)",
    "right_then_hang": PRINTS_RIGHT + "import sys; sys.stdout.flush()\nwhile True: pass",
    "right_then_segfault": PRINTS_RIGHT + "import sys, ctypes; sys.stdout.flush(); ctypes.string_at(0)",
    "right_then_flood": PRINTS_RIGHT + "while True: print('x' * 4096)",
    "right_then_abort": PRINTS_RIGHT + "import os, sys; sys.stdout.flush(); os.abort()",
    "right_then_memory": PRINTS_RIGHT + "x = bytearray(4 << 30)",
    "right_then_compile_bomb": PRINTS_RIGHT + "x = " + "(" * 300 + ")" * 300,
    "constant_folding": "x = 'a' * 10**9 + 'b' * 10**9\n" + READS + "print(-1)",
    "exponent": "print(9**9**9)",
    "file_of_answers": "import os\nfor d, _, fs in os.walk('/'):\n    for f in fs:\n        if 'expected' in f or 'output' in f: print(open(d + '/' + f).read())\n",
    "proc": "print(open('/proc/self/environ').read(), open('/proc/1/maps').read())",
    "memory_of_1": "open('/proc/1/mem', 'r+b')",
    "kill_all": "import os\nos.kill(-1, 9)\nos.killpg(0, 9)\nos.kill(os.getppid(), 9)\nprint(-99)",
    "ptrace": "import ctypes\nl = ctypes.CDLL(None)\nprint(l.ptrace(16, 1, 0, 0), l.ptrace(0, 0, 0, 0))",
    "unshare": "import ctypes\nl = ctypes.CDLL(None)\nprint(l.unshare(0x10000000), l.unshare(0x20000), l.setns(0, 0))",
    "clone_userns": "import ctypes\nprint(ctypes.CDLL(None).syscall(56, 0x10000011, 0, 0, 0, 0))",
    "mount": "import ctypes\nl = ctypes.CDLL(None)\nprint(l.mount(b'none', b'/tmp', b'tmpfs', 0, None), l.umount2(b'/tmp', 2), l.chroot(b'/tmp'))",
    "keyring": "import ctypes\nprint(ctypes.CDLL(None).syscall(250, 0, -3, 1))",
    "io_uring": "import ctypes\nprint(ctypes.CDLL(None).syscall(425, 1, 0))",
    "bpf": "import ctypes\nprint(ctypes.CDLL(None).syscall(321, 0, 0, 0))",
    "userfaultfd": "import ctypes\nprint(ctypes.CDLL(None).syscall(323, 0))",
    "setuid": "import os\ntry: os.setuid(0)\nexcept OSError as e: print(e)\ntry: os.setgroups([0])\nexcept OSError as e: print(e)",
    "chmod_root": "import os\nos.chmod('/', 0o777)",
    "mknod": "import os, stat\nos.mknod('/tmp/x', 0o666 | stat.S_IFBLK, os.makedev(254, 0))",
    "symlink_out": "import os\nos.symlink('/etc/passwd', '/tmp/p')\nprint(open('/tmp/p').read())",
    "tcp": "import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=1)",
    "unix": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0/tmp/.X11-unix/X0')",
    "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "raw": "import ctypes\nprint(ctypes.CDLL(None).socket(17, 3, 0))",
    "dns": "import socket\nprint(socket.gethostbyname('localhost'))",
    "fork_bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "fork_exec_bomb": "import subprocess, sys\nwhile True: subprocess.Popen([sys.executable, '-c', 'while True: pass'])",
    "sparse_file": "f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * (1 << 20)); f.flush()",
    "mmap_bomb": "import mmap\nh = []\nwhile True:\n    m = mmap.mmap(-1, 64 << 20); m.write(b'x' * (64 << 20)); h.append(m)",
    "memfd_bomb": "import os\nh = []\nwhile True:\n    f = os.memfd_create('x'); os.write(f, b'x' * (1 << 20)); h.append(f)",
    "shm_bomb": "import ctypes\nl = ctypes.CDLL(None)\nprint([l.shmget(0, 1 << 30, 0o1777) for _ in range(99)])",
    "pipe_bomb": "import os, fcntl\nh = []\nwhile True:\n    r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20); os.write(w, b'x' * (1 << 20)); h.append((r, w))",
    "sigterm": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
    "sigstop": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass",
    "close_all": "import os\nos.closerange(0, 1000)\nwhile True: pass",
    "stdin_closed": "import os\nos.close(0)\nos.close(1)\nos.close(2)",
    "daemons": "import os\nfor _ in range(10):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\nprint(-1)",
    "surrogates": "import os\nos.write(1, bytes(range(256)) * 100)",
    "nul": READS + "print(chr(0) + str(a + b))",
    "regex": "import re\nre.match('(a|a)*$', 'a' * 60 + 'b')",
    "import_star": "import this, antigravity",
    "pickle": "import pickle\nclass E:\n    def __reduce__(s): import os; return os.system, ('touch /tmp/pwned; echo 7',)\npickle.loads(pickle.dumps(E()))",
    "exec_shell": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo 7'])",
    "ctypes_exec": "import ctypes\nctypes.CDLL(None).execl(b'/bin/sh', b'sh', b'-c', b'echo 7', None)",
    "fake_terminal": "print('7\\r8\\x1b[2K7')",
    "all_answers": "print(*range(-100, 100))",
    "all_lines": "for i in range(-100, 100): print(i)",
    "threads_left": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n" + PRINTS_RIGHT,
}  # fmt: skip


@pytest.mark.parametrize("name", STDIN_ATTACKS)
def test_no_wrong_program_passes_a_test(judge, name):
    verdict = judge(STDIN_ATTACKS[name], STDIN)
    assert verdict.score == 0 and verdict.status in ("wrong", "crash", "timeout", "no_answer"), verdict
    assert re.fullmatch(r"[^\x1b\x00]*", verdict.reason), verdict.reason


def test_constant_answers_get_what_they_deserve(judge):
    assert judge("print(7)", STDIN).score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return 7", CALLS).score == pytest.approx(1 / 3)
    assert judge("def add(a, b): return a + b if a else None", CALLS).score == pytest.approx(2 / 3)


def test_a_function_that_changes_its_arguments_does_not_change_what_is_expected(judge):
    answer = {"fn_name": "f", "inputs": [[[3, 1]]], "outputs": [[1, 3]]}
    assert judge("def f(x):\n    x.clear()\n    return x", answer).score == 0
    in_place = {"test_list": ["x = [3, 1]\nf(x)\nassert x == [1, 3]"]}
    assert judge("def f(x): x.sort()", in_place).score == 1
    assert judge("def f(x): x.reverse()\n", in_place).score == 1
    assert judge("def f(x): x.clear()", in_place).score == 0
