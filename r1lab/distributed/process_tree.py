"""A process and those it starts, which end together, at the latest with the program that started them. Not what they
do, nor how the processes of one run are started (`r1lab.distributed.launch`)."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

GUARD = "import os, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), 9)"


class ProcessTree(subprocess.Popen):
    """A process and those it starts, which end with the program that started it however that ends, SIGKILL too.

    A guard waits for the end of a pipe whose other end only that program holds. (PR_SET_PDEATHSIG would reach one
    process alone, and at the end of a mere thread.)
    """

    def __init__(self, arguments: Sequence[str], **options):
        """See subprocess.Popen."""
        super().__init__(arguments, start_new_session=True, **options)
        guard = [sys.executable, "-S", "-c", GUARD, str(self.pid)]
        self.guard = subprocess.Popen(guard, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def signal_all(self, number: int) -> None:
        """Send a signal to all; returns once SIGKILL has done its work."""
        if number == signal.SIGKILL:
            self.guard.kill()
            self.guard.communicate()  # closes its pipe and waits
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        if number == signal.SIGKILL:
            self.wait()
