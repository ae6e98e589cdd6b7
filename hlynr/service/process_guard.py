"""Runs one command and ends it, with its children, when the process that asked for it is gone.

Arguments: id of that process, seconds between SIGTERM and SIGKILL, the command. A process of its own because neither
MLflow's server nor Prefect's worker notices that its parent was killed. Imports nothing heavy: there is one per
component.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

from hlynr.runtime import scratch
from hlynr.runtime.parent import wait_until_gone

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(parent: int, grace: float, command: list[str]) -> int:
    """Run the command until it ends, ``parent`` is gone, or this process is asked to stop.

    Returns:
        The command's exit code, 128 + number for a signal; 0 where this process was asked to stop.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    scratch.claim()
    libc = ctypes.CDLL(None)
    child = subprocess.Popen(
        command,
        process_group=0,  # so that its children can be killed without this process
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    try:
        wait_until_gone(parent, or_until=lambda: bool(asked) or child.poll() is not None)
        code = child.poll()
        if code is None:
            terminate(child, grace)
            return 0
        return code if code >= 0 else 128 - code
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def terminate(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process, by SIGKILL if it still runs after ``grace`` seconds."""
    process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
