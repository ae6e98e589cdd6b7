"""The guard of each component's process: whichever process ends, all end, and the exit code is passed on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import projects, services

from hlynr.service import process_guard

# A command with a child of its own, which would outlive it; both ignore Ctrl-C.
FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(0, flush=True); time.sleep(600)"


def _guarded(parent: int, script: str, grace: float = 5.0) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-P",
        "-m",
        process_guard.__name__,
        str(parent),
        str(grace),
        sys.executable,
        "-c",
        script,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The command and its child, once it runs."""
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    found = psutil.Process(process.pid).children()
    return [*found, psutil.Process(grandchild)] if grandchild else found


def test_sigterm_ends_the_command_and_its_children() -> None:
    with _guarded(os.getpid(), FAMILY) as process:
        family = _family(process)
        process.terminate()
        assert process.wait(20) == 0
    projects.until(lambda: services.gone(*family), "the end of all", 5)


def test_a_command_that_does_not_stop_is_killed() -> None:
    with _guarded(os.getpid(), STUBBORN, grace=0.5) as process:
        family = _family(process)
        process.terminate()
        assert process.wait(20) == 0
    assert services.gone(*family)


def test_a_killed_guard_ends_the_command() -> None:
    with _guarded(os.getpid(), STUBBORN) as process:
        family = _family(process)
        process.kill()
    projects.until(lambda: services.gone(*family), "the end of the command", 5)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "guard = [sys.executable, '-P', '-m', sys.argv[1], str(os.getpid()), '5']\n"
        "command = [*guard, sys.executable, '-c', sys.argv[2]]\n"
        "print(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, process_guard.__name__, FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        guard = psutil.Process(int(owner.stdout.readline()))
        projects.until(lambda: len(guard.children(recursive=True)) == 2, "the command and its child", 20)
        family = [guard, *guard.children(recursive=True)]
        owner.kill()
    projects.until(lambda: services.gone(*family), "the end of all", 20)


@pytest.mark.parametrize(("script", "code"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_exit_code_is_passed_on(script: str, code: int) -> None:
    with _guarded(os.getpid(), script) as process:
        assert process.wait(20) == code
