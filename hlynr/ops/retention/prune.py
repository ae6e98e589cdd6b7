"""Retrainings without a decision leave MLflow and DVC after a while; what the registry points to is kept for good."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hlynr.config.project import Project
from hlynr.ops.retention import dvc_objects
from hlynr.ops.retention.dvc_objects import DAY, Collected
from hlynr.ops.retention.survey import RunFamily, Survey, survey
from hlynr.ops.tracking import deletion, runs
from hlynr.ops.tracking.store import Store, local_path, open_existing
from hlynr.records.service import KeptCount, PrunedItem, PruneRecord
from hlynr.runtime import locks

ASK_THE_SERVER = "the runs are only marked as deleted; on the machine of the MLflow server, mlflow gc erases them"


def prune(project: Project, *, dry_run: bool = False, now: datetime | None = None) -> PruneRecord:
    """Remove what is older than ``retention.days`` and led to no decision; with ``dry_run``, only report it.

    DVC's experiments go before the runs that name them, so that the next pruning finds what a killed one left.

    Args:
        now: the time from which ages count.

    Raises:
        hlynr.runtime.locks.BusyError: if another pruning is going on in the project.
        hlynr.ops.versioning.experiments.VersioningError: if a save does not end in time, or git fails; nothing has
            gone then.
    """
    now = now or datetime.now(UTC)
    before = now - timedelta(days=project.config.retention.days)
    with nullcontext() if dry_run else locks.one_at_a_time(project.root, "pruning"):
        opened = open_existing(project.config, project.root)
        found = survey(opened, project.train, round(1000 * before.timestamp())) if opened else Survey()
        collected = _collected(project, found, before, now, dry_run)
        # A run that went before its experiment would leave nothing that lets the experiment go later.
        found = replace(found, going=tuple(each for each in found.going if not each.experiments & collected.young))
        items = [*_runs(found, now), *collected.items]
        faults = [*collected.faults, *(_removed(opened, found) if opened and not dry_run else ())]
        if not dry_run:
            project.remove_left()
    kinds = {"run": found.kept, "experiment": collected.kept}
    return PruneRecord(
        dry_run=dry_run,
        when=now,
        days=project.config.retention.days,
        items=tuple(items),
        kept=tuple(
            KeptCount.model_validate({"kind": kind, "reason": reason, "count": count})
            for kind, reasons in kinds.items()
            for reason, count in sorted(reasons.items())
        ),
        bytes=sum(item.bytes or 0 for item in items),
        notes=(ASK_THE_SERVER,) if found.going and not found.erasable else (),
        faults=tuple(faults),
    )


def _collected(project: Project, found: Survey, before: datetime, now: datetime, dry_run: bool) -> Collected:
    """What leaves DVC: nothing where retrainings are not saved with it."""
    if not project.config.versioning.enabled:
        return Collected()
    remote = project.config.retention.remote
    return dvc_objects.collect(project.root, found, before, now, remote=remote, dry_run=dry_run)


def _removed(opened: Store, found: Survey) -> Iterator[str]:
    """Remove one family after another; yields a line for each that could not be, which keeps no other one back."""
    for family in found.going:
        try:
            remove(opened, family)
        except Exception as error:  # whatever MLflow's stores and the disk raise
            yield f"{family.head.name} is kept for now: {' '.join(str(error).split())}"


def _runs(found: Survey, now: datetime) -> Iterator[PrunedItem]:
    for family in found.going:
        children = len(family.runs) - 1
        yield PrunedItem(
            kind=family.kind,
            name=family.head.name + (f" and {children} below" if children else ""),
            reason=family.reason,
            age_days=(now.timestamp() - family.active_at / 1000) / DAY,
            bytes=_size(family) if found.erasable else None,
        )


def remove(store: Store, family: RunFamily) -> None:
    """Erase a family; on a server, mark it as deleted.

    Safe to repeat after a kill: the rows go last, the head's after all others, so that the rest is found again.
    """
    head = family.head.tags
    if head.get(runs.OUTCOME_TAG) == "failed" and runs.RETRAINING_TAG in head:
        runs.remember_failed(store, head[runs.RETRAINING_TAG])
    for run in family.runs:
        if not run.deleted:
            store.client.delete_run(run.id)
    for model in family.models:
        if not model.deleted:
            store.client.delete_logged_model(model.id)
    for model in family.models:
        deletion.erase_model(store, model.id, model.location)
    for run in reversed(family.runs):
        deletion.erase_run(store, run.id, run.artifacts)


def _size(family: RunFamily) -> int | None:
    """Bytes of its files; None where they are on no disk of this machine."""
    locations = [*(run.artifacts for run in family.runs), *(model.location for model in family.models)]
    folders = [folder for folder in map(local_path, locations) if folder]
    if len(folders) < len(locations):
        return None
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
