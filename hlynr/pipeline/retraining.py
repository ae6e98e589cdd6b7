"""Which retraining it is: one at a time, numbered, and gone on with if it was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.pipeline import plan
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime.errors import InputError


@dataclass(frozen=True)
class Retraining:
    """A retraining as it begins or goes on."""

    projects: tuple[Project, ...]
    """One for each strategy of the plan, all numbered as this retraining."""
    lineage: Lineage
    """Of the attempt that comes next."""
    earlier: tuple[Attempt, ...]
    """The attempts that have failed before the retraining was interrupted."""


def begin(projects: Sequence[Project], flow_run_id: str | None = None, *, resume: bool = False) -> Retraining:
    """Number the coming retraining and open its lineage.

    Each finished retraining advances the retraining, and with it the training and evaluation seeds: with the same
    seeds the same policy would come out, judged on the engagements that chose its predecessor. A retraining whose every
    attempt failed counts, too, or the next one would fail in the same way.

    Args:
        projects: one for each strategy of the plan.
        resume: go on with the retraining that was interrupted, under its lineage; without one, begin a new retraining.

    Raises:
        hlynr.runtime.errors.InputError: if the interrupted retraining cannot be gone on with under this configuration.
    """
    from hlynr.ops.registry import journal
    from hlynr.ops.tracking import abandoned, lineage, runs, store

    first = projects[0]
    opened = store.open_store(first.config, first.root)
    history, failed = journal.history(opened), runs.failed_retrainings(opened)
    finished = sum(entry.action != "rolled_back" for entry in history) + len(failed)
    numbered = tuple(project.at_retraining(project.config.run.retraining + finished) for project in projects)
    left = _interrupted(numbered, {entry.lineage_id for entry in history} | failed) if resume else None
    abandoned.close(opened, first.root, keep=left[0].mlflow_parent_run_id if left else None)
    if left is not None:
        begun, earlier = left
        return Retraining(numbered, begun.model_copy(update={"flow_run_id": flow_run_id}), earlier)
    plan.clear(first)
    opening = plan.opening(numbered, lineage.start(numbered[0].config, first.root, flow_run_id))
    above = runs.start_retraining(opened, opening, [project.config.run.strategy for project in numbered])
    abandoned.claim(opened, above, first.root)
    return Retraining(numbered, opening.model_copy(update={"mlflow_parent_run_id": above}), ())


def begun(project: Project, given: Lineage | None, out: Path) -> Lineage | None:
    """The lineage of the checkpoint to go on from, with what ``given`` adds to it; None if there is none to use.

    A retraining takes none but its own: what a training of another retraining left is no reason to fail.
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


def _interrupted(projects: Sequence[Project], decided: set[str]) -> tuple[Lineage, tuple[Attempt, ...]] | None:
    """The current attempt of a retraining without a decision, and those before it; None if there is none."""
    earlier = plan.earlier(projects[0])
    if earlier and earlier[-1].lineage.retraining_id in decided:
        earlier = ()
    if len(earlier) >= len(projects):
        return None
    project = projects[len(earlier)]
    left = None if _finished(project, decided) else begun(project, None, project.train)
    if left is None and earlier:
        left = plan.following(projects, earlier)  # it was interrupted between two attempts
    if left and left.params_digest != project.config.digest():
        raise InputError(
            "--resume: the configuration has changed since that retraining began; undo it, or do not resume"
        )
    return None if left is None else (left, earlier)


def _finished(project: Project, decided: set[str]) -> bool:
    """Whether the retraining of the newest training has its decision."""
    try:
        return TrainResult.read(project.train / "result.json").lineage.id in decided
    except (OSError, ValueError):
        return False  # no result: the training itself was interrupted
