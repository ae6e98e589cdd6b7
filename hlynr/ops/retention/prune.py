"""What came to no decision leaves MLflow and DVC after a while; what the registry points to stays for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hlynr.config.project import Project
from hlynr.records.service import KeptCount, PrunedItem, PruneRecord
from hlynr.runtime import locks

if TYPE_CHECKING:
    from hlynr.ops.retention.dvc_objects import Collected
    from hlynr.ops.retention.survey import Survey
    from hlynr.ops.tracking.store import Store

DAY = 86_400.0  # [s]
ASK_THE_SERVER = "the runs are only marked as deleted; whoever runs the MLflow server must call mlflow gc there"


def prune(project: Project, *, dry_run: bool = False, now: datetime | None = None) -> PruneRecord:
    """Remove what is older than ``retention.days`` and came to nothing; with ``dry_run``, only say what would go.

    DVC's experiments go before the runs that tell of them, so that a pruning that was killed finds the rest again.

    Args:
        now: the time from which ages count.

    Raises:
        hlynr.runtime.locks.BusyError: if another pruning is going on in the project.
        hlynr.ops.versioning.experiments.VersioningError: if a save does not end in time, or git refuses; nothing has gone then.
    """
    from hlynr.ops.retention import inventory, survey
    from hlynr.ops.tracking import store

    settings, now = project.config.retention, now or datetime.now(UTC)
    before = now - timedelta(days=settings.days)
    with nullcontext() if dry_run else locks.one_at_a_time(project.root, "pruning"):
        opened, found = store.open_existing(project.config, project.root), survey.Survey()
        if opened is not None:
            found = survey.survey(opened, project.train, round(1000 * before.timestamp()))
        collected = _collected(project, found, before, dry_run)
        young = collected.young if collected else frozenset()
        # A run that went before its experiment would leave nobody who tells that this one may go, too.
        found = replace(found, going=tuple(family for family in found.going if not family.experiments & young))
        items = [*_items(opened, found, now), *_of_dvc(collected, now)]
        faults = list(collected.faults if collected else ())
        if opened is not None and not dry_run:
            faults += _removed(opened, found)
    kept = [KeptCount(kind="run", reason=reason, count=count) for reason, count in sorted(found.kept.items())]
    kept += [
        KeptCount(kind="experiment", reason=reason, count=count)
        for reason, count in sorted((collected.kept if collected else {}).items())
    ]
    notes = (ASK_THE_SERVER,) if opened and found.going and inventory.database(opened) is None else ()
    return PruneRecord(
        dry_run=dry_run,
        when=now,
        days=settings.days,
        items=tuple(items),
        kept=tuple(kept),
        bytes=sum(item.bytes or 0 for item in items),
        notes=notes,
        faults=tuple(faults),
    )


def _collected(project: Project, found: Survey, before: datetime, dry_run: bool) -> Collected | None:
    """What DVC gave up; None where retrainings are not saved with it."""
    from hlynr.ops.retention import dvc_objects

    if not project.config.versioning.enabled:
        return None
    remote = project.config.retention.remote
    return dvc_objects.collect(project.root, found.experiments, found.known, before, remote=remote, dry_run=dry_run)


def _removed(opened: Store, found: Survey) -> Iterator[str]:
    """Remove one family after another; yields a line for each that did not go, which keeps no other one back."""
    from hlynr.ops.retention import removal

    for family in found.going:
        try:
            removal.remove(opened, family)
        except Exception as error:  # whatever MLflow's stores and the disk raise
            yield f"{family.head.name} stays for now: {' '.join(str(error).split())}"


def _items(opened: Store | None, found: Survey, now: datetime) -> Iterator[PrunedItem]:
    from hlynr.ops.retention import inventory, removal

    erased = opened is not None and inventory.database(opened) is not None
    for family in found.going:
        below = len(family.runs) - 1
        yield PrunedItem(
            kind=family.kind,
            name=family.head.name + (f" and {below} below" if below else ""),
            reason=family.reason,
            age_days=(now.timestamp() - family.seen / 1000) / DAY,
            bytes=removal.size(family) if erased else None,
        )


def _of_dvc(collected: Collected | None, now: datetime) -> Iterator[PrunedItem]:
    if collected is None:
        return
    for each in collected.experiments:
        age = (now - each.made).total_seconds() / DAY
        yield PrunedItem(kind="experiment", name=each.name, reason="its retraining goes", age_days=age, bytes=None)
    for name in collected.worktrees:
        yield PrunedItem(kind="worktree", name=name, reason="left by a killed save", age_days=None, bytes=None)
    for place, objects in collected.objects.items():
        if objects.count:
            name = f"{objects.count} object{'s' if objects.count > 1 else ''} of DVC's {place}"
            yield PrunedItem(kind="objects", name=name, reason="nothing uses them", age_days=None, bytes=objects.bytes)
