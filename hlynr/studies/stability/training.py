"""One run of the study in a process of its own, which hears of its work and tells of its progress by `hlynr.pipeline.training_process`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime import processes
from hlynr.runtime.progress import TrainObserver
from hlynr.studies.stability.assignments import Assignment
from hlynr.studies.stability.conclude import RESULT, conclude_run

COMMAND = [sys.executable, "-P", "-m", "hlynr.studies.stability.training"]


def main() -> int:
    """The child's side."""
    return processes.serve(lambda text, channel: carry_out(Assignment.model_validate_json(text), channel))


def carry_out(run: Assignment, observer: TrainObserver) -> None:
    """Train, from the last checkpoint where there is one of this configuration, and judge what came of it.

    Raises:
        KeyboardInterrupt: once the checkpoint is written, if the training was asked to stop.
    """
    result = _trained(run) or _train(run, observer)
    if result.interrupted:
        raise KeyboardInterrupt
    conclude_run(run)


def _train(run: Assignment, observer: TrainObserver) -> TrainResult:
    """An orphan of a killed study, which stops by itself, is given the time to do so."""
    from hlynr.ops.tracking import lineage
    from hlynr.rl.train import TrainingBusyError, train

    deadline = time.monotonic() + processes.PATIENCE
    while True:
        begun = _begun(run)
        told = begun or lineage.start(run.config, Path(run.root))
        try:
            return train(run.config, run.out, told, observer, resume=begun is not None)
        except TrainingBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _trained(run: Assignment) -> TrainResult | None:
    """The training, if all that is missing is the judgement."""
    begun = _begun(run)
    try:
        result = TrainResult.read(run.out / RESULT)
    except (OSError, ValueError):
        return None
    same = begun is not None and begun.id == result.lineage.id
    return result if same and not result.interrupted else None


def _begun(run: Assignment) -> Lineage | None:
    """The lineage of the checkpoint to go on from; None to start anew, also where one cannot be gone on from."""
    from hlynr.rl import checkpoint
    from hlynr.rl.train import training_digest

    try:
        return checkpoint.lineage_of(run.out / "checkpoints", training_digest(run.config))
    except checkpoint.CheckpointError:
        return None


if __name__ == "__main__":
    sys.exit(main())
