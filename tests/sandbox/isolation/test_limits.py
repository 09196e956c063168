import resource
import subprocess
import sys

RUN = "import sys; sys.path[:] = {path!r}; from r1lab_sandbox.isolation import limits; {body}"


def run(body):
    return subprocess.run([sys.executable, "-c", RUN.format(path=sys.path, body=body)], capture_output=True, timeout=30)


def test_memory_over_the_limit_is_a_memory_error():
    done = run("limits.apply(200); bytearray(300 << 20)")
    assert done.returncode == 1 and b"MemoryError" in done.stderr


def test_processor_time_is_renewed_and_then_ends_the_process():
    body = "limits.renew_cpu(0.1); limits.renew_cpu(0.1)\nwhile True: pass"
    assert run(body).returncode == -24  # SIGXCPU


def test_limits_are_never_raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    done = run(
        "limits.apply(10**6); limits.apply(300); limits.apply(10**6); "
        "import resource; print(resource.getrlimit(resource.RLIMIT_AS)[0] >> 20)"
    )
    assert done.stdout.strip() == b"300"
    assert resource.getrlimit(resource.RLIMIT_CORE) == (soft, hard)
