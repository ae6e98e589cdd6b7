"""Training in a process of its own, so that whatever kills the training does not kill the night.

The parent hands over a request on standard input and reads one JSON line of progress per rollout. The child
lies in a session of its own: it hears of Ctrl-C through the parent, which waits for its checkpoint, and it
stops by itself, with a checkpoint too, when the parent is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO

from hlynr.config import Config
from hlynr.errors import DONE, INTERRUPTED, EnvironmentNotReady, InputError, TrainingError, UserError
from hlynr.machine import explained
from hlynr.observers import TrainObserver, TrainProgress
from hlynr.project import Project
from hlynr.records import Lineage, Record, TrainResult

PATIENCE = 60.0
"""[s] for a child that was asked to stop: the rest of a rollout, an evaluation, a checkpoint."""

COMMAND = [sys.executable, "-P", "-m", "hlynr.child"]
"""-P: this package, not one of the same name that lies in the working directory."""


class TrainingCrashedError(TrainingError):
    """The training process ended without a result; its last checkpoint is there to go on from."""


class Request(Record):
    """What the child needs to know."""

    root: str
    config: Config
    lineage: Lineage
    resume: bool


class Refusal(Record):
    """What the child says instead of a result."""

    exit_code: int
    message: str

    def error(self) -> UserError:
        """The child's error, as the parent raises it."""
        kinds: dict[int, type[UserError]] = {kind.exit_code: kind for kind in (InputError, TrainingError)}
        return kinds.get(self.exit_code, EnvironmentNotReady)(self.message)


def train(project: Project, lineage: Lineage, *, resume: bool, observers: Sequence[TrainObserver] = ()) -> TrainResult:
    """As `hlynr.pipeline.train`, in a child process that is gone when this returns or raises.

    Raises:
        TrainingCrashedError: if the child was killed, stopped by a signal of its own, or failed.
        hlynr.errors.UserError: what the child itself reported; repeating would not help.
        KeyboardInterrupt: after the child has stopped cleanly; likewise what Prefect makes of a SIGTERM.
    """
    request = Request(root=str(project.root), config=project.config, lineage=lineage, resume=resume)
    with start(COMMAND) as child:
        try:
            converse(child, request, observers)
        except Exception:
            raise
        except BaseException:  # an interrupt, in whatever form
            stop([child])
            raise
        finally:
            kill(child)
    result = TrainResult.read(project.train / "result.json")
    if result.interrupted:
        raise TrainingCrashedError(f"it was stopped from outside after {result.timesteps:,} timesteps")
    return result


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
        hlynr.errors.UserError: what the child itself reported; repeating would not help.
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


def _listen(lines: Iterable[str], observers: Sequence[TrainObserver]) -> Refusal | None:
    """Pass progress on until the child closes its output; returns its refusal, if its last line is one."""
    for line in lines:
        if "exit_code" in line:
            return Refusal.model_validate_json(line)
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


class Channel:
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


def watch_parent(parent: int, patience: float) -> None:
    """Ask this process to stop when ``parent`` is gone, and end it after ``patience`` seconds.

    A thread, because a parent-death signal also fires when the spawning thread ends.
    """
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os._exit(1)


def main() -> int:
    """The child's side."""
    return serve(_train)


def serve(work: Callable[[str, Channel], None]) -> int:
    """The child's side of `converse`: do what the text on standard input asks for, and return the exit code."""
    threading.Thread(target=watch_parent, args=(os.getppid(), PATIENCE), daemon=True).start()
    channel = Channel(os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no message to the parent
    try:
        work(sys.stdin.read(), channel)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        channel.send(Refusal(exit_code=told.exit_code, message=str(told)))
        return told.exit_code
    return DONE


def _train(text: str, channel: Channel) -> None:
    from hlynr import pipeline

    request = Request.model_validate_json(text)
    project = Project(Path(request.root), request.config)
    pipeline.train(project, request.lineage, resume=request.resume, observers=[channel])


if __name__ == "__main__":
    sys.exit(main())
