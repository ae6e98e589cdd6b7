"""Garbage collection in DVC: experiments of retrainings without a decision, and objects that nothing else uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hlynr.ops.versioning import experiments, git, snapshot
from hlynr.ops.versioning.experiments import Experiment, VersioningError

KEPT_RETRAINING = "their retraining is kept"
YOUNG = "younger than retention.days"
UNKNOWN = "no run of this MLflow store names them"
FOREIGN = "not made by a retraining"


@dataclass(frozen=True)
class Objects:
    """Objects of a cache or remote that nothing uses."""

    count: int
    bytes: int


@dataclass(frozen=True)
class Collected:
    """What went, or would."""

    experiments: tuple[Experiment, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    """How many experiments are kept for which reason."""
    young: frozenset[str] = frozenset()
    """Experiments that are kept only because of their age."""
    worktrees: tuple[str, ...] = ()
    """Left by saves that were killed."""
    objects: Mapping[str, Objects] = field(default_factory=dict)
    """By ``cache`` and ``remote``."""
    faults: tuple[str, ...] = ()
    """What could not be done; the next time will do."""


def collect(
    root: Path, names: Collection[str], known: Collection[str], before: datetime, *, remote: bool, dry_run: bool
) -> Collected:
    """Remove the experiments ``names`` made before that time, then what nothing uses and is as old.

    Whatever any commit, ref, stash or working tree of the repository uses is kept. Saves wait meanwhile.

    Args:
        known: experiments of retrainings that are kept.
        remote: remove from the default remote, too.

    Raises:
        VersioningError: if ``root`` is no project of git and DVC, or git fails; no experiment has gone then.
    """
    root = root.resolve()
    with experiments.explained():
        experiments.check_project(root)
        # A dry run makes no lock file: where there is none, nothing was ever saved.
        untouched = dry_run and not experiments.lock_file(root).exists()
        with nullcontext() if untouched else experiments.lock(root):
            judged = [(each, _reason_to_keep(each, names, known, before)) for each in experiments.saved(root)]
            going = [each for each, reason in judged if reason is None]
            worktrees = root / experiments.WORKTREES
            abandoned = sorted(path.name for path in worktrees.glob("*"))
            if not dry_run:
                commands = "".join(f"delete {each.ref} {each.revision}\n" for each in going)
                git.run(root, "update-ref", "--stdin", stdin=commands)  # all or nothing
                snapshot.clear(root, worktrees)
            objects, faults = _sweep(root, going, before, remote=remote, dry_run=dry_run)
    return Collected(
        experiments=tuple(going),
        kept=Counter(reason for _, reason in judged if reason),
        young=frozenset(each.name for each, reason in judged if reason == YOUNG),
        worktrees=tuple(abandoned),
        objects=objects,
        faults=faults,
    )


def _reason_to_keep(each: Experiment, names: Collection[str], known: Collection[str], before: datetime) -> str | None:
    if not each.name.startswith(experiments.PREFIXES):
        return FOREIGN
    if each.name in known:
        return KEPT_RETRAINING
    if each.made >= before:
        return YOUNG
    # Its retraining may have been decided in another store than this one.
    return None if each.name in names else UNKNOWN


def _sweep(
    root: Path, going: list[Experiment], before: datetime, *, remote: bool, dry_run: bool
) -> tuple[dict[str, Objects], tuple[str, ...]]:
    without = [each.ref for each in going] if dry_run else []
    request: dict[str, Any] = {"root": str(root), "before": before.timestamp(), "cloud": remote, "dry": dry_run}
    try:
        answer = experiments.ask("gc", root, request | {"without": without})
    except VersioningError as error:
        return {}, (f"DVC's objects are kept: {error}",)
    fault = answer.pop("remote_fault")
    faults = (f"DVC's remote is kept as it is: {fault}",) if fault else ()
    return {kind: Objects(**found) for kind, found in answer.items()}, faults
