"""Child processes: each in a session of its own, so that it is killed whole; messages are JSON lines."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Literal, TextIO

from pydantic import Field, TypeAdapter

from hlynr.records.base import Record
from hlynr.records.training import TrainProgress
from hlynr.runtime import environment, errors, parent, scratch, streams
from hlynr.runtime.progress import ProgressObserver

PATIENCE = 60.0
"""[s] for a child that was asked to stop: the rest of a rollout, an evaluation, a checkpoint."""


class TrainingCrashedError(errors.TrainingError):
    """The training process ended without a result; a retry resumes from its last checkpoint."""


class ProgressMessage(Record):
    """From the child, after each rollout."""

    kind: Literal["progress"] = "progress"
    progress: TrainProgress


class ErrorMessage(Record):
    """From the child, last, instead of a result."""

    kind: Literal["error"] = "error"
    exit_code: int
    message: str

    def error(self) -> errors.UserError:
        """The child's error, as the parent raises it."""
        kinds: tuple[type[errors.UserError], ...] = (errors.InputError, errors.TrainingError)
        kind = next((kind for kind in kinds if kind.exit_code == self.exit_code), errors.EnvironmentNotReady)
        return kind(self.message)


_MESSAGE: TypeAdapter[ProgressMessage | ErrorMessage] = TypeAdapter(
    Annotated[ProgressMessage | ErrorMessage, Field(discriminator="kind")]
)


def start(command: Sequence[str], messages: Path | None = None) -> subprocess.Popen[str]:
    """A child in a session of its own, which waits for its request.

    Args:
        messages: the file to append its standard error to; default: that of this process.
    """
    with ExitStack() as opened:
        stderr = opened.enter_context(messages.open("a")) if messages else None
        return subprocess.Popen(
            command,
            env=environment.of_child(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            start_new_session=True,
        )


def converse(child: subprocess.Popen[str], request: Record, observers: Sequence[ProgressObserver]) -> None:
    """Send the request and pass progress on until the child ends.

    Raises:
        TrainingCrashedError: if the child was killed, stopped by a signal of its own, or failed.
        hlynr.runtime.errors.UserError: as the child reported; repeating would not help.
    """
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError), child.stdin as pipe:  # its exit code says why it is gone
        pipe.write(request.model_dump_json())
    reported = _listen(child.stdout, observers)
    code = child.wait()
    if reported:
        raise reported.error()
    if code != 0:
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise TrainingCrashedError(f"the training process ended with {ending}")


def _listen(lines: Iterable[str], observers: Sequence[ProgressObserver]) -> ErrorMessage | None:
    """Pass progress on until the child closes its output; returns the error that it reports, if it does."""
    for line in lines:
        message = _MESSAGE.validate_json(line)
        if isinstance(message, ErrorMessage):
            return message
        for observer in observers:
            observer.progress(message.progress)
    return None


def stop(children: Collection[subprocess.Popen[str]]) -> None:
    """Interrupt the children and wait for their checkpoints, at most `PATIENCE` or until a second Ctrl-C."""
    for child in children:
        child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        for child in children:
            child.wait(max(deadline - time.monotonic(), 0.0))


def kill(child: subprocess.Popen[str]) -> None:
    """Kill the child's whole session, unless it has ended."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def is_running(pid: int, begun_by: float, begun_from: float = 0.0) -> bool:
    """Whether the process is alive that began in this time [s since the epoch]; its id may by now be another one's."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(begun_from <= process.create_time() <= begun_by and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, ValueError, OverflowError):  # of a number that no process can have, too
        return False


def is_ours(pid: int, lock: Path, command: Sequence[str] | None) -> bool:
    """Whether the process has our lock file open, as only its holder keeps it, and this command line, if given."""
    import psutil

    try:
        process = psutil.Process(pid)
        holds = any(Path(opened.path) == lock.resolve() for opened in process.open_files())
        return holds and command in (None, tuple(process.cmdline()))
    except psutil.Error:
        return False


class MessageChannel:
    """The child's side: messages to the parent, one a line, on what was standard output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def progress(self, progress: TrainProgress) -> None:
        self.send(ProgressMessage(progress=progress))

    def send(self, message: ProgressMessage | ErrorMessage) -> None:
        print(message.model_dump_json(), file=self._stream, flush=True)


def last_line(output: str | Path) -> str:
    """The last line of an output or of a log file that is not blank; empty if there is none, or no such file."""
    if isinstance(output, Path):
        try:
            output = output.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


def serve(work: Callable[[str, MessageChannel], None]) -> int:
    """The child's side of `converse`: run ``work`` on the text from standard input; returns the exit code."""
    parent.end_with(os.getppid(), kill_after=PATIENCE)
    streams.guard()
    channel = MessageChannel(streams.lasting(os.dup(1)))
    os.dup2(2, 1)  # what a library prints must not mix with messages
    sys.stdout = sys.stderr
    try:
        scratch.claim()
        work(sys.stdin.read(), channel)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except Exception as error:
        reported = errors.as_user_error(error)
        if reported is None:
            raise
        channel.send(ErrorMessage(exit_code=reported.exit_code, message=str(reported)))
        return reported.exit_code
    return errors.DONE
