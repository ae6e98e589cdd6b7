"""Runs one command for a process that may be killed: whatever ends the one, nothing of the other is left.

Arguments: the process to look after, seconds of grace, the command. A process of its own because neither MLflow's
server nor Prefect's worker notices that whoever started it is gone. Imports nothing heavy: there is one per service.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

from hlynr.runtime.parent import wait_until_gone

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def mind(parent: int, grace: float, command: list[str]) -> int:
    """Run the command to its end, or end it when ``parent`` is gone or this process is asked to stop.

    Returns:
        The command's exit code, 128 + number for a signal; 0 where it was asked to stop.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        command,
        process_group=0,  # so that its children can be ended without this process
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        wait_until_gone(parent, or_until=lambda: bool(asked) or child.poll() is not None)
        return _ended(child, grace)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _ended(child: subprocess.Popen[bytes], grace: float) -> int:
    code = child.poll()
    if code is not None:
        return code if code >= 0 else 128 - code
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return 0


if __name__ == "__main__":
    sys.exit(mind(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
