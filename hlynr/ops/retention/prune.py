"""Retrainings without a decision leave MLflow and DVC after a while; what the registry points to is kept for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hlynr.config.project import Project
from hlynr.ops.retention import dvc_objects, removal
from hlynr.ops.retention.dvc_objects import Collected
from hlynr.ops.retention.survey import Survey, survey
from hlynr.ops.tracking.store import Store, open_existing
from hlynr.records.service import KeptCount, PrunedItem, PruneRecord
from hlynr.runtime import locks

DAY = 86_400.0  # [s]
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
        collected = _collected(project, found, before, dry_run)
        # A run that went before its experiment would leave nothing that lets the experiment go later.
        found = replace(found, going=tuple(each for each in found.going if not each.experiments & collected.young))
        items = [*_runs(found, now), *_dvc(collected, now)]
        faults = [*collected.faults, *(_removed(opened, found) if opened and not dry_run else ())]
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


def _collected(project: Project, found: Survey, before: datetime, dry_run: bool) -> Collected:
    """What leaves DVC: nothing where retrainings are not saved with it."""
    if not project.config.versioning.enabled:
        return dvc_objects.Collected()
    remote = project.config.retention.remote
    return dvc_objects.collect(project.root, found.experiments, found.known, before, remote=remote, dry_run=dry_run)


def _removed(opened: Store, found: Survey) -> Iterator[str]:
    """Remove one family after another; yields a line for each that could not be, which keeps no other one back."""
    for family in found.going:
        try:
            removal.remove(opened, family)
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
            bytes=removal.size(family) if found.erasable else None,
        )


def _dvc(collected: Collected, now: datetime) -> Iterator[PrunedItem]:
    for each in collected.experiments:
        age = (now - each.made).total_seconds() / DAY
        yield PrunedItem(kind="experiment", name=each.name, reason="its retraining goes", age_days=age, bytes=None)
    for name in collected.worktrees:
        yield PrunedItem(kind="worktree", name=name, reason="left by a killed save", age_days=None, bytes=None)
    for kind, objects in collected.objects.items():
        if objects.count:
            name = f"{objects.count} object{'s' if objects.count > 1 else ''} of DVC's {kind}"
            yield PrunedItem(kind="objects", name=name, reason="nothing uses them", age_days=None, bytes=objects.bytes)
