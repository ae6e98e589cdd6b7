"""Training in a process of its own, so that whatever kills the training does not kill the retraining.

The parent hands over a request on standard input and reads one JSON line of progress per rollout. The child
lies in a session of its own: it hears of Ctrl-C through the parent, which waits for its checkpoint, and it
stops by itself, with a checkpoint too, when the parent is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.records.base import Record
from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime.processes import MessageChannel, TrainingCrashedError, converse, kill, serve, start, stop
from hlynr.runtime.progress import ProgressObserver

COMMAND = [sys.executable, "-P", "-m", "hlynr.pipeline.training_process"]
"""-P: this package, not one of the same name that lies in the working directory."""


class TrainingRequest(Record):
    root: str
    config: Config
    lineage: Lineage
    resume: bool


def train(
    project: Project, lineage: Lineage, *, resume: bool, observers: Sequence[ProgressObserver] = ()
) -> TrainResult:
    """As `hlynr.pipeline.steps.train`, in a child process that is gone when this returns or raises.

    Raises:
        TrainingCrashedError: if the child was killed, stopped by a signal of its own, or failed.
        hlynr.runtime.errors.UserError: what the child itself reported; repeating would not help.
        KeyboardInterrupt: after the child has stopped cleanly; likewise what Prefect makes of a SIGTERM.
    """
    request = TrainingRequest(root=str(project.root), config=project.config, lineage=lineage, resume=resume)
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


def main() -> int:
    return serve(_train)


def _train(text: str, channel: MessageChannel) -> None:
    from hlynr.pipeline import steps

    request = TrainingRequest.model_validate_json(text)
    project = Project(Path(request.root), request.config)
    steps.train(project, request.lineage, resume=request.resume, observers=[channel])


if __name__ == "__main__":
    sys.exit(main())
