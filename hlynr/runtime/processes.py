"""Child processes: started in a session of their own, spoken to in JSON lines, stopped and killed as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO

from hlynr.records.base import Record
from hlynr.records.training import TrainProgress
from hlynr.runtime import parent
from hlynr.runtime.errors import DONE, INTERRUPTED, EnvironmentNotReady, InputError, TrainingError, UserError, explained
from hlynr.runtime.progress import TrainObserver

PATIENCE = 60.0
"""[s] for a child that was asked to stop: the rest of a rollout, an evaluation, a checkpoint."""


class TrainingCrashedError(TrainingError):
    """The training process ended without a result; its last checkpoint is there to go on from."""


class ReportedError(Record):
    """What the child says instead of a result."""

    exit_code: int
    message: str

    def error(self) -> UserError:
        """The child's error, as the parent raises it."""
        kinds: dict[int, type[UserError]] = {kind.exit_code: kind for kind in (InputError, TrainingError)}
        return kinds.get(self.exit_code, EnvironmentNotReady)(self.message)


def start(command: Sequence[str], messages: Path | None = None) -> subprocess.Popen[str]:
    """A child in a session of its own, which waits for its request.

    Args:
        messages: the file that its standard error is added to; default: that of this process.
    """
    with ExitStack() as opened:
        stderr = opened.enter_context(messages.open("a")) if messages else None
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
        )


def converse(child: subprocess.Popen[str], request: Record, observers: Sequence[TrainObserver]) -> None:
    """Hand over the request and pass progress on until the child has done what it asks for.

    Raises:
        TrainingCrashedError: if the child was killed, stopped by a signal of its own, or failed.
        hlynr.runtime.errors.UserError: what the child itself reported; repeating would not help.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError), child.stdin as pipe:  # one that is gone already says why by its exit code
        pipe.write(request.model_dump_json())
    refusal = _listen(child.stdout, observers)
    code = child.wait()
    if refusal:
        raise refusal.error()
    if code != 0:
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise TrainingCrashedError(f"the training process ended with {ending}")


def _listen(lines: Iterable[str], observers: Sequence[TrainObserver]) -> ReportedError | None:
    """Pass progress on until the child closes its output; returns its refusal, if its last line is one."""
    for line in lines:
        if "exit_code" in line:
            return ReportedError.model_validate_json(line)
        progress = TrainProgress.model_validate_json(line)
        for observer in observers:
            observer.progress(progress)
    return None


def stop(children: Collection[subprocess.Popen[str]]) -> None:
    """Let the children come to their checkpoints; returns early when patience or a second Ctrl-C ends it."""
    for child in children:
        child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        for child in children:
            child.wait(max(deadline - time.monotonic(), 0.0))


def kill(child: subprocess.Popen[str]) -> None:
    """Nothing of the child's session survives it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class MessageChannel:
    """The child's side of its standard output; nobody may be listening any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """The child itself sends them to MLflow."""

    def progress(self, progress: TrainProgress) -> None:
        self.send(progress)

    def send(self, record: Record) -> None:
        """One line. An orphan must come to its checkpoint, not fail here."""
        with suppress(BrokenPipeError):
            print(record.model_dump_json(), file=self._stream, flush=True)


def last_line(output: str | Path) -> str:
    """The last line of an output or of a log file that is not blank; empty if there is none, or no such file."""
    if isinstance(output, Path):
        try:
            output = output.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


def serve(work: Callable[[str, MessageChannel], None]) -> int:
    """The child's side of `converse`: do what the text on standard input asks for, and return the exit code."""
    parent.end_with(os.getppid(), kill_after=PATIENCE)
    channel = MessageChannel(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no message to the parent
    try:
        work(sys.stdin.read(), channel)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        channel.send(ReportedError(exit_code=told.exit_code, message=str(told)))
        return told.exit_code
    return DONE
