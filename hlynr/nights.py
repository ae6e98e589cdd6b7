"""Which night it is: one at a time, numbered, and gone on with if it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlynr.errors import EnvironmentNotReady, InputError
from hlynr.project import Project
from hlynr.records import Lineage, TrainResult


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Keep a second retraining of the project out; the operating system frees the lock of a killed one.

    It is turned away and does not wait: after the first one the night is another, and so is what to do.

    Raises:
        EnvironmentNotReady: if another retraining is going on.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".hlynr" / "retrain.lock")
    Path(lock.lock_file).parent.mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EnvironmentNotReady(f"{root}: another retraining is going on here; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def begin(project: Project, flow_run_id: str | None = None, *, resume: bool = False) -> tuple[Project, Lineage]:
    """Number the coming retraining and open its lineage.

    Each finished retraining advances the night, and with it the training and evaluation seeds: with the same
    seeds the same policy would come out, judged on the engagements that chose its predecessor.

    Args:
        resume: go on with the night that was interrupted, under its lineage; without one, begin a new night.

    Raises:
        hlynr.errors.InputError: if the interrupted night cannot be gone on with under this configuration.
    """
    from hlynr.ops import lineage, promotion, store

    history = promotion.history(store.open_store(project.config, project.root))
    finished = sum(entry.action != "rolled_back" for entry in history)
    numbered = project.at_night(project.config.run.night + finished)
    left = _interrupted(numbered, {entry.lineage_id for entry in history}) if resume else None
    if left is None:
        return numbered, lineage.start(numbered.config, numbered.root, flow_run_id)
    return numbered, left.model_copy(update={"flow_run_id": flow_run_id})


def begun(project: Project, given: Lineage | None, out: Path) -> Lineage | None:
    """The lineage of the checkpoint to go on from, with what ``given`` adds to it; None if there is none to use.

    A night takes none but its own: what a training of another night left is no reason to fail.
    """
    from hlynr.rl import checkpoint
    from hlynr.rl.train import training_digest

    try:
        left = checkpoint.lineage_of(out / "checkpoints", training_digest(project.config))
    except checkpoint.CheckpointError:
        if given is None:
            raise
        return None
    if left is None or given is None:
        return left
    return left.model_copy(update={"flow_run_id": given.flow_run_id}) if left.id == given.id else None


def _interrupted(project: Project, decided: set[str]) -> Lineage | None:
    """The lineage of a training whose night did not come to its decision; None if there is none."""
    try:
        if TrainResult.read(project.train / "result.json").lineage.id in decided:
            return None
    except (OSError, ValueError):
        pass  # no result: the training itself was interrupted
    left = begun(project, None, project.train)
    if left and left.params_digest != project.config.digest():
        raise InputError("--resume: the configuration has changed since that night began; undo it, or do not resume")
    return left
