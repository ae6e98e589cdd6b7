"""Training in a process of its own, so that whatever kills the training does not kill the night.

The parent hands over a request on standard input and reads one JSON line of progress per rollout. The child
lies in a session of its own: it hears of Ctrl-C through the parent, which waits for its checkpoint, and it
stops by itself when the parent is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hlynr.config import Config
from hlynr.errors import EnvironmentNotReady, InputError, TrainingError, UserError
from hlynr.observers import TrainObserver, TrainProgress
from hlynr.project import Project
from hlynr.records import Lineage, Record, TrainResult

PATIENCE = 60.0
"""[s] for a child that was asked to stop: the rest of a rollout, an evaluation, a checkpoint."""


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
        TrainingCrashedError: if the child was killed or failed.
        hlynr.errors.UserError: what the child itself reported; repeating would not help.
        KeyboardInterrupt: after the child has stopped cleanly.
    """
    request = Request(root=str(project.root), config=project.config, lineage=lineage, resume=resume)
    child = subprocess.Popen(
        [sys.executable, "-m", "hlynr.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(request.model_dump_json())
        child.stdin.close()
        refusal = _listen(child.stdout, observers)
        code = child.wait()
    except KeyboardInterrupt:
        _stop(child)
        raise
    finally:
        _kill(child)
        child.stdout.close()
    if refusal:
        raise refusal.error()
    if code != 0:
        ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise TrainingCrashedError(f"the training process ended with {ending}")
    return TrainResult.read(project.train / "result.json")


def _listen(lines: Iterable[str], observers: Sequence[TrainObserver]) -> Refusal | None:
    """Pass progress on until the child closes its output; returns its refusal, if its last line is one."""
    for line in lines:
        if "exit_code" in line:
            return Refusal.model_validate_json(line)
        progress = TrainProgress.model_validate_json(line)
        for observer in observers:
            observer.progress(progress)
    return None


def _stop(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        return


def _kill(child: subprocess.Popen[str]) -> None:
    """Nothing of the child's session survives it."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


class _JsonObserver:
    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """The child itself sends them to MLflow."""

    def progress(self, progress: TrainProgress) -> None:
        print(progress.model_dump_json(), flush=True)


def _watch_parent(parent: int) -> None:
    """Stop when orphaned. A thread, because a parent-death signal also fires when the spawning thread ends."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def main() -> int:
    """The child's side."""
    from hlynr import pipeline

    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    request = Request.model_validate_json(sys.stdin.read())
    project = Project(Path(request.root), request.config)
    try:
        pipeline.train(project, request.lineage, resume=request.resume, observers=[_JsonObserver()])
    except UserError as error:
        print(Refusal(exit_code=error.exit_code, message=str(error)).model_dump_json(), flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
