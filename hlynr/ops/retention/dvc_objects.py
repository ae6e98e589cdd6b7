"""Garbage collection in DVC: experiments of retrainings without a decision, and objects that nothing else uses."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hlynr.ops.retention.survey import Survey
from hlynr.ops.versioning import experiments, git, git_locks, snapshot
from hlynr.ops.versioning.experiments import Experiment, VersioningError
from hlynr.records.service import PrunedItem

DAY = 86_400.0  # [s]
KEPT_RETRAINING = "their retraining is kept"
YOUNG = "younger than retention.days"
UNKNOWN = "no run of this MLflow store names them"
FOREIGN = "not made by a retraining"


@dataclass(frozen=True)
class Collected:
    """What went, or would: experiments, folders of killed saves, objects that nothing uses."""

    items: tuple[PrunedItem, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    young: frozenset[str] = frozenset()
    """Experiments that are kept only because of their age."""
    faults: tuple[str, ...] = ()
    """What could not be done; the next time will do."""


def collect(root: Path, found: Survey, before: datetime, now: datetime, *, remote: bool, dry_run: bool) -> Collected:
    """Remove the experiments of runs that go, made before that time, then what nothing uses and is as old.

    Whatever any commit, ref, stash or working tree of the repository uses is kept. Saves wait meanwhile.

    Args:
        now: the time from which ages count.
        remote: remove from the default remote, too.

    Raises:
        VersioningError: if ``root`` is no project of git and DVC, or git fails; no experiment has gone then.
    """
    root = root.resolve()
    with experiments.explained():
        experiments.check_project(root)
        # A dry run makes no lock file: where there is none, nothing was ever saved.
        untouched = dry_run and not (root / experiments.LOCK).exists()
        with nullcontext() if untouched else experiments.lock(root):
            judged = [(each, _reason_to_keep(each, found, before)) for each in experiments.saved(root)]
            going = [each for each, reason in judged if reason is None]
            worktrees = root / experiments.WORKTREES
            abandoned = sorted(path.name for path in worktrees.glob("*"))
            if not dry_run:
                git_locks.clear(root, experiments.PREFIXES)
                commands = "".join(f"delete {each.ref} {each.revision}\n" for each in going)
                git.run(root, "update-ref", "--stdin", stdin=commands)  # all or nothing
                snapshot.clear(root, worktrees)
            objects, faults = _sweep(root, going, before, remote=remote, dry_run=dry_run)
    return Collected(
        items=tuple(_items(going, abandoned, objects, now)),
        kept=Counter(reason for _, reason in judged if reason),
        young=frozenset(each.name for each, reason in judged if reason == YOUNG),
        faults=faults,
    )


def _reason_to_keep(each: Experiment, found: Survey, before: datetime) -> str | None:
    if not each.name.startswith(experiments.PREFIXES):
        return FOREIGN
    if each.name in found.known:
        return KEPT_RETRAINING
    if each.made >= before:
        return YOUNG
    # Its retraining may have been decided in another store than this one.
    return None if each.name in found.experiments else UNKNOWN


def _sweep(
    root: Path, going: list[Experiment], before: datetime, *, remote: bool, dry_run: bool
) -> tuple[dict[str, dict[str, int]], tuple[str, ...]]:
    """The objects that nothing uses, counted by cache and remote; and what could not be done."""
    without, since = [each.ref for each in going] if dry_run else [], before.timestamp()
    try:
        answer = experiments.ask("gc", root, root=str(root), without=without, before=since, cloud=remote, dry=dry_run)
    except VersioningError as error:
        return {}, (f"DVC's objects are kept: {error}",)
    fault = answer.pop("remote_fault")
    faults = (f"DVC's remote is kept as it is: {fault}",) if fault else ()
    return answer, faults


def _items(
    going: list[Experiment], worktrees: list[str], objects: dict[str, dict[str, int]], now: datetime
) -> Iterator[PrunedItem]:
    for each in going:
        age = (now - each.made).total_seconds() / DAY
        yield PrunedItem(kind="experiment", name=each.name, reason="its retraining goes", age_days=age, bytes=None)
    for name in worktrees:
        yield PrunedItem(kind="worktree", name=name, reason="left by a killed save", age_days=None, bytes=None)
    for kind, found in objects.items():
        if count := found["count"]:
            name = f"{count} object{'s' if count > 1 else ''} of DVC's {kind}"
            yield PrunedItem(kind="objects", name=name, reason="nothing uses them", age_days=None, bytes=found["bytes"])
