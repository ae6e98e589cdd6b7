"""The number and the lineage of a retraining, and where an interrupted one resumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import abandoned, runs, store
from hlynr.ops.tracking import lineage as lineages
from hlynr.pipeline import plan
from hlynr.records.base import Record
from hlynr.records.evaluation import GateDecision
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime.errors import EnvironmentNotReady, InputError, as_user_error


@dataclass(frozen=True)
class Retraining:
    """A retraining as it begins or resumes."""

    projects: tuple[Project, ...]
    """One for each strategy of the plan, all numbered as this retraining."""
    lineage: Lineage
    """Of the attempt that comes next."""
    earlier: tuple[Attempt, ...]
    """The attempts that had failed before the retraining was interrupted."""
    resumed: bool = False
    decision: GateDecision | None = None
    """The gate's, if it had been carried out before the retraining was interrupted."""


class GivenUp(Record):
    """A retraining that was resumed and failed in a way that no later try can change."""

    retraining: str
    reason: str


def begin(
    projects: Sequence[Project], flow_run_id: str | None = None, *, resume: bool = False, unattended: bool = False
) -> Retraining:
    """Number the coming retraining and open its lineage.

    The number follows the highest that a finished retraining of this store had, and shifts the training and
    evaluation seeds: with the same seeds the same policy would result, judged on the engagements that chose its
    predecessor. A retraining whose every attempt failed counts too, or the next one would fail in the same way.
    params.yaml gives the number of the first one: `dvc exp apply` sets it to that of an earlier one.

    Args:
        projects: one for each strategy of the plan.
        resume: go on with the interrupted retraining, under its lineage; if there is none, begin a new one. One that
            was interrupted after its decision is led to its end with that.
        unattended: do not go on with one that was given up.

    Raises:
        hlynr.runtime.errors.InputError: if the interrupted retraining began under another configuration, or was given
            up.
    """
    first = projects[0]
    first.remove_left()
    opened = store.open_store(first.config, first.root)
    history, failed = journal.history(opened), runs.failed_retrainings(opened)
    concluded = runs.concluded(opened)
    used = versions.numbers(opened) | {number for number in concluded.values() if number is not None}
    finished = sum(entry.action != "rolled_back" for entry in history) + len(failed)
    number, decision = max(first.config.run.retraining, finished, max(used, default=-1) + 1), None
    decided = {entry.lineage_id for entry in history} | failed | concluded.keys()
    unconcluded = _unconcluded(opened, first, decided) if resume else None
    if unconcluded is not None:
        result, decision = unconcluded
        number = result.lineage.retraining
        decided -= {result.lineage.id, result.lineage.retraining_id}
    numbered = tuple(project.at_retraining(number) for project in projects)
    interrupted = _interrupted(numbered, decided) if resume else None
    if interrupted is not None and unattended:
        _require_hope(first, interrupted[0])
    abandoned.close(opened, first.root, keep=interrupted[0].mlflow_parent_run_id if interrupted else None)
    if interrupted is not None:
        lineage, earlier = interrupted
        lineage = lineage.model_copy(update={"flow_run_id": flow_run_id})
        return Retraining(numbered, lineage, earlier, resumed=True, decision=decision)
    shutil.rmtree(first.attempts, ignore_errors=True)  # of an earlier retraining; MLflow has their bundles
    opening = plan.opening(numbered, lineages.start(numbered[0].config, first.root, flow_run_id))
    names = [project.config.run.strategy for project in numbered]
    parent_run_id = runs.start_retraining(opened, opening, names, abandoned.of_project(first.root))
    return Retraining(numbered, opening.model_copy(update={"mlflow_parent_run_id": parent_run_id}), ())


@contextmanager
def given_up_on_error(found: Retraining) -> Iterator[None]:
    """Note that a resumed retraining has failed again, unless something that it needs was only not ready.

    An unattended retraining would resume it for ever, and always fail.
    """
    try:
        yield
    except Exception as error:
        if found.resumed and not isinstance(as_user_error(error), EnvironmentNotReady):
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            GivenUp(retraining=found.lineage.retraining_id, reason=reason).write(_given_up(found.projects[0]))
        raise


def _given_up(project: Project) -> Path:
    return project.root / ".hlynr" / "given-up.json"


def _require_hope(project: Project, lineage: Lineage) -> None:
    found = None
    with suppress(OSError, ValueError):
        found = GivenUp.read(_given_up(project))
    if found is not None and found.retraining == lineage.retraining_id:
        raise InputError(f"--resume: retraining {found.retraining} is given up, it failed with {found.reason}")


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


def _unconcluded(opened: store.Store, project: Project, decided: set[str]) -> tuple[TrainResult, GateDecision] | None:
    """The newest training, if its decision was carried out and its retraining killed before that was written down."""
    try:
        result = TrainResult.read(project.train / "result.json")
    except (OSError, ValueError):
        return None
    lineage, pending = result.lineage, journal.unfinished(opened)
    carried_out = lineage.id in decided or (pending is not None and pending.lineage_id == lineage.id)
    if not carried_out or not lineage.mlflow_run_id or not lineage.mlflow_parent_run_id:
        return None
    if runs.is_concluded(opened, lineage.mlflow_parent_run_id):
        return None
    decision = runs.logged_decision(opened, lineage.mlflow_run_id)
    return None if decision is None else (result, decision)


def _finished(project: Project, decided: set[str]) -> bool:
    """Whether the retraining of the newest training has its decision."""
    try:
        lineage = TrainResult.read(project.train / "result.json").lineage
    except (OSError, ValueError):
        return False  # no result: the training itself was interrupted
    return not decided.isdisjoint((lineage.id, lineage.retraining_id))
