"""One run of a stability study in a process of its own: `python -m hlynr.studies.stability.training`.

Request and progress travel as `hlynr.runtime.processes` describes.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime import processes
from hlynr.runtime.progress import ProgressObserver
from hlynr.studies.stability.assignments import Assignment
from hlynr.studies.stability.conclude import RESULT, conclude_run

COMMAND = [sys.executable, "-P", "-m", "hlynr.studies.stability.training"]


def main() -> int:
    """The child's side."""
    return processes.serve(lambda text, channel: train_and_judge(Assignment.model_validate_json(text), channel))


def train_and_judge(run: Assignment, observer: ProgressObserver) -> None:
    """Train, from the last checkpoint of this configuration where there is one, and judge the best bundle.

    Raises:
        KeyboardInterrupt: once the checkpoint is written, if the training was interrupted.
    """
    result = _result(run) or _train(run, observer)
    if result.interrupted:
        raise KeyboardInterrupt
    conclude_run(run)


def _train(run: Assignment, observer: ProgressObserver) -> TrainResult:
    """Waits for the process of a killed study, which stops by itself."""
    from hlynr.ops.tracking import lineage
    from hlynr.rl.train import TrainingBusyError, train

    deadline = time.monotonic() + processes.PATIENCE
    while True:
        known = _checkpoint_lineage(run)
        try:
            begun = known or lineage.start(run.config, Path(run.root))
            return train(run.config, run.out, begun, progress_to=[observer], resume=known is not None)
        except TrainingBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _result(run: Assignment) -> TrainResult | None:
    """Of a training that has ended and has not been judged."""
    known = _checkpoint_lineage(run)
    try:
        result = TrainResult.read(run.out / RESULT)
    except (OSError, ValueError):
        return None
    return result if known and known.id == result.lineage.id and not result.interrupted else None


def _checkpoint_lineage(run: Assignment) -> Lineage | None:
    """None where there is no checkpoint, or one of another configuration or version."""
    from hlynr.rl import checkpoint
    from hlynr.rl.train import training_digest

    try:
        return checkpoint.lineage_of(run.out / "checkpoints", training_digest(run.config))
    except checkpoint.CheckpointError:
        return None


if __name__ == "__main__":
    sys.exit(main())
