"""What child processes leave behind: their last line; and that they do not outlive their parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import projects

from hlynr.runtime.processes import last_line


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        (" \n\n", ""),
        ("one", "one"),
        ("one\n  two \n\n \n", "two"),
        ("Traceback\nKeyError: 3\n", "KeyError: 3"),
    ],
)
def test_last_line_of_an_output_and_of_a_log(output: str, line: str, tmp_path: Path) -> None:
    log = tmp_path / "some.log"
    log.write_text(output)
    assert last_line(output) == last_line(log) == line


def test_last_line_of_a_log_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none.log") == ""
    (tmp_path / "binary.log").write_bytes(b"\xff\xfe broken\n")
    assert last_line(tmp_path / "binary.log").endswith("broken")


ORPHAN = """
import os, signal, sys, time
from hlynr.runtime import parent
if sys.argv[1] == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
parent.end_with(os.getppid(), kill_after=0.2 if sys.argv[1] == "ignore" else None)
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("on_sigterm", ["end", "ignore"])
def test_a_process_ends_when_its_parent_is_gone(on_sigterm: str) -> None:
    start = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]); time.sleep(600)"
    command = [sys.executable, "-c", start, ORPHAN, on_sigterm]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = psutil.Process(int(owner.stdout.readline()))
        os.kill(owner.pid, signal.SIGKILL)
    projects.until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end", 20)
