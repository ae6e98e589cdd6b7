"""A process goes on whether its output is read or not, and with any standard streams."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, projects

from hlynr.runtime import streams
from hlynr.runtime.errors import EnvironmentNotReady

WORK = """
import os, sys
from hlynr.runtime import environment, streams
streams.guard()
environment.prepare()
streams.interrupt_on_hangup()
for line in range(20_000):
    print("on standard output", line, "μ")
    print("on standard error", line, "μ", file=sys.stderr)
print(sys.stdin.isatty(), open("/dev/null").fileno() > 2)
open(sys.argv[1], "w").write("done")
try:
    streams.require_written()
except Exception as error:
    open(sys.argv[1], "a").write(f", {error}")
"""


def _work(shell: str, tmp_path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run it by the shell's line, in which $WORK is the command; it must come to its end."""
    done = tmp_path / "done"
    words = {"PYTHON": sys.executable, "CODE": WORK, "DONE": str(done), **extra}
    line = shell.replace("WORK", '"$PYTHON" -c "$CODE" "$DONE"')
    ended = projects.run(tmp_path, "bash", "-c", f"set -o pipefail; {line}", PYTHONPATH=str(ROOT), **words)
    assert done.read_text().startswith("done"), ended.stderr
    return ended


SHELL = {
    "a reader that leaves": "WORK 2>&1 | head -1",
    "no standard input": "WORK <&- >/dev/null 2>&1",
    "no standard output": "WORK >&- 2>/dev/null",
    "no standard error": "WORK 2>&- >/dev/null",
    "none at all": "WORK <&- >&- 2>&-",
    "a full disk": "WORK >/dev/full 2>&1",
    "messages on a full disk": "WORK 2>/dev/full >/dev/null",
    "an encoding without the letter": "PYTHONIOENCODING=ascii WORK >/dev/null 2>&1",
    "the C locale": "LC_ALL=C WORK >/dev/null 2>&1",
    "nohup": 'nohup $PYTHON -c "$CODE" "$DONE" >/dev/null 2>&1',
}


@pytest.mark.parametrize("case", SHELL)
def test_the_work_is_done_and_its_exit_code_is_its_own(case: str, tmp_path: Path) -> None:
    ended = _work(SHELL[case], tmp_path)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stdout + ended.stderr
    lost = ", standard output: No space left on device" if case == "a full disk" else ""
    assert (tmp_path / "done").read_text() == f"done{lost}"


def test_an_output_that_cannot_show_a_letter_shows_a_question_mark(tmp_path: Path) -> None:
    ended = _work("PYTHONIOENCODING=ascii WORK 2>/dev/null | tail -2", tmp_path)
    assert ended.stdout == "on standard output 19999 ?\nFalse True\n"


def test_messages_are_lost_while_they_are_not_read_and_later_ones_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    file = streams.lasting(writing, patience=0.01)
    for _ in range(10_000):
        print("0123456789" * 10, file=file)
    assert len(os.read(reading, 1 << 20)) <= 1 << 16
    print("again", file=file)
    assert os.read(reading, 1 << 20).endswith(b"again\n")
    os.close(reading)
    print("to no reader", file=file)


def test_standard_output_waits_for_its_reader() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as another process may have done to the open file
    text = "0123456789" * 20_000
    writer = os.fork()
    if writer == 0:
        print(text, file=streams.lasting(writing), flush=True)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == text + "\n"
    assert os.waitpid(writer, 0)[1] == 0


def test_a_record_that_was_asked_for_and_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    full = projects.run(ROOT, "bash", "-c", "hlynr validate --schema >/dev/full")
    assert (full.returncode, full.stderr) == (0, "hlynr: standard output: No space left on device\n")
    asked = projects.run(ROOT, "bash", "-c", "hlynr evaluate --policy zero --episodes 1 --json - >/dev/full")
    assert (asked.returncode, asked.stderr.splitlines()[-1]) == (4, "hlynr: standard output: No space left on device")


@pytest.mark.parametrize("verb", ["--help", "validate", "validate --schema", "champions", "status", "monitor --once"])
def test_a_verb_that_only_prints_ends_quietly_when_its_reader_leaves(verb: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project", git=False)
    plain = projects.run(root, "hlynr", *verb.split())
    left = projects.run(root, "bash", "-c", f'hlynr {verb} | true; exit "${{PIPESTATUS[0]}}"')
    assert (left.returncode, left.stderr) == (plain.returncode, plain.stderr)


@pytest.mark.parametrize("columns", ["0", "-1", "none", "9" * 5000])
def test_a_width_that_is_none_is_not_taken(columns: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project", git=False)
    ended = projects.run(root, "hlynr", "champions", COLUMNS=columns)
    assert (ended.returncode, ended.stdout != "", ended.stderr) == (0, True, "")


HANGUP = """
import signal, sys, time
from hlynr.runtime import streams
streams.guard()
streams.interrupt_on_hangup()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    signal.raise_signal(signal.SIGHUP)
    print("writing a checkpoint", flush=True)
    open(sys.argv[1], "w").write("saved")
"""


def _in_a_terminal(command: list[str], until: Callable[[int], None]) -> int:
    """Run the command with a terminal that is closed when ``until`` returns; returns its wait status."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    until(terminal)
    os.close(terminal)
    return os.waitpid(child, 0)[1]


def test_a_closed_terminal_is_an_interrupt_and_no_more(tmp_path: Path) -> None:
    def ready(terminal: int) -> None:
        assert b"ready" in os.read(terminal, 100)

    saved = tmp_path / "saved"
    assert _in_a_terminal([sys.executable, "-c", HANGUP, str(saved)], ready) == 0
    assert saved.read_text() == "saved"


def test_nohup_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        streams.interrupt_on_hangup()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_lost_is_an_error_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", streams.lasting(full))
    print("something")
    with pytest.raises(EnvironmentNotReady, match=r"^standard output: No space left on device$"):
        streams.require_written()
    os.close(full)


def test_another_program_runs_with_streams_that_last(tmp_path: Path) -> None:
    """As Prefect's worker does, which passes its runs' output on."""
    (tmp_path / "program.py").write_text("import sys\nprint('x' * 9999)\nopen(sys.argv[1], 'w').write('done')\n")
    line = '"$PYTHON" -P -m hlynr.runtime.streams program result >/dev/full'
    ended = projects.run(tmp_path, "bash", "-c", line, PYTHON=sys.executable)
    assert (ended.returncode, (tmp_path / "result").read_text()) == (0, "done"), ended.stderr
