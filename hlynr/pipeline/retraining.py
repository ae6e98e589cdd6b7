"""The number and the lineage of a retraining, and where an interrupted one resumes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.ops.registry import journal
from hlynr.ops.tracking import abandoned, runs, store
from hlynr.ops.tracking import lineage as lineages
from hlynr.pipeline import plan
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime.errors import InputError


@dataclass(frozen=True)
class Retraining:
    """A retraining as it begins or resumes."""

    projects: tuple[Project, ...]
    """One for each strategy of the plan, all numbered as this retraining."""
    lineage: Lineage
    """Of the attempt that comes next."""
    earlier: tuple[Attempt, ...]
    """The attempts that had failed before the retraining was interrupted."""


def begin(projects: Sequence[Project], flow_run_id: str | None = None, *, resume: bool = False) -> Retraining:
    """Number the coming retraining and open its lineage.

    The number counts the finished retrainings and shifts the training and evaluation seeds: with the same seeds the
    same policy would result, judged on the engagements that chose its predecessor. A retraining whose every attempt
    failed counts too, or the next one would fail in the same way.

    Args:
        projects: one for each strategy of the plan.
        resume: go on with the interrupted retraining, under its lineage; if there is none, begin a new one.

    Raises:
        hlynr.runtime.errors.InputError: if the interrupted retraining began under another configuration.
    """
    first = projects[0]
    opened = store.open_store(first.config, first.root)
    history, failed = journal.history(opened), runs.failed_retrainings(opened)
    finished = sum(entry.action != "rolled_back" for entry in history) + len(failed)
    numbered = tuple(project.at_retraining(project.config.run.retraining + finished) for project in projects)
    interrupted = _interrupted(numbered, {entry.lineage_id for entry in history} | failed) if resume else None
    abandoned.close(opened, first.root, keep=interrupted[0].mlflow_parent_run_id if interrupted else None)
    if interrupted is not None:
        lineage, earlier = interrupted
        return Retraining(numbered, lineage.model_copy(update={"flow_run_id": flow_run_id}), earlier)
    shutil.rmtree(first.attempts, ignore_errors=True)  # of an earlier retraining; MLflow has their bundles
    opening = plan.opening(numbered, lineages.start(numbered[0].config, first.root, flow_run_id))
    parent_run_id = runs.start_retraining(opened, opening, [project.config.run.strategy for project in numbered])
    abandoned.claim(opened, parent_run_id, first.root)
    return Retraining(numbered, opening.model_copy(update={"mlflow_parent_run_id": parent_run_id}), ())


def begun(project: Project, given: Lineage | None, out: Path) -> Lineage | None:
    """The lineage of the checkpoint to resume from, with the flow run of ``given``; None if there is none to use.

    A retraining uses its own checkpoint only; another retraining's, or a damaged one, is ignored.
    """
    from hlynr.rl import checkpoint
    from hlynr.rl.train import training_digest

    try:
        found = checkpoint.lineage_of(out / "checkpoints", training_digest(project.config))
    except checkpoint.CheckpointError:
        if given is None:
            raise
        return None
    if found is None or given is None:
        return found
    return found.model_copy(update={"flow_run_id": given.flow_run_id}) if found.id == given.id else None


def _interrupted(projects: Sequence[Project], decided: set[str]) -> tuple[Lineage, tuple[Attempt, ...]] | None:
    """The current attempt of a retraining without a decision, and those before it; None if there is none."""
    earlier = plan.earlier(projects[0])
    if earlier and earlier[-1].lineage.retraining_id in decided:
        earlier = ()
    if len(earlier) >= len(projects):
        return None
    project = projects[len(earlier)]
    lineage = None if _finished(project, decided) else begun(project, None, project.train)
    if lineage is None and earlier:
        lineage = plan.following(projects, earlier)  # it was interrupted between two attempts
    if lineage and lineage.params_digest != project.config.digest():
        raise InputError(
            "--resume: the configuration has changed since that retraining began; undo it, or do not resume"
        )
    return None if lineage is None else (lineage, earlier)


def _finished(project: Project, decided: set[str]) -> bool:
    """Whether the retraining of the newest training has its decision."""
    try:
        return TrainResult.read(project.train / "result.json").lineage.id in decided
    except (OSError, ValueError):
        return False  # no result: the training itself was interrupted
