"""DVC without the retrainings that came to nothing: their experiments, and the objects that nothing else uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hlynr.ops.versioning import experiments as versioning_experiments
from hlynr.ops.versioning import git, snapshot
from hlynr.ops.versioning.experiments import VersioningError

KEPT_RETRAINING = "their retraining is kept"
YOUNG = "younger than retention.days"
UNKNOWN = "no run of this MLflow store tells of them"
FOREIGN = "not of a retraining's making"


@dataclass(frozen=True)
class Experiment:
    """One ref below refs/exps that has a name."""

    ref: str
    name: str
    revision: str
    made: datetime


@dataclass(frozen=True)
class Objects:
    """Objects of a cache or remote that nothing uses."""

    count: int
    bytes: int


@dataclass(frozen=True)
class Collected:
    """What went, or would."""

    experiments: tuple[Experiment, ...]
    kept: Mapping[str, int]
    """How many experiments stay for which reason."""
    young: frozenset[str]
    """Experiments that stay only because of their age."""
    worktrees: tuple[str, ...]
    """Left by saves that were killed."""
    objects: Mapping[str, Objects]
    """By ``cache`` and ``remote``."""
    faults: tuple[str, ...]
    """What could not be done; the next time will do."""


def collect(
    root: Path, names: Collection[str], known: Collection[str], before: datetime, *, remote: bool, dry_run: bool
) -> Collected:
    """Remove the experiments ``names`` made before that time, then what nothing uses and is as old.

    Whatever any commit, ref, stash or working tree of the repository uses stays. No save is under way meanwhile.

    Args:
        known: experiments of retrainings that are kept.
        remote: remove from the default remote, too.

    Raises:
        VersioningError: if ``root`` is no project of git and DVC, or git refuses; no experiment has gone then.
    """
    root = root.resolve()
    with versioning_experiments.explained():
        versioning_experiments.check_project(root)
        # A dry run makes no lock file: where there is none, nobody has ever saved.
        untouched = dry_run and not (root / ".hlynr" / "versioning.lock").exists()
        with nullcontext() if untouched else versioning_experiments.lock(root):
            found = experiments(root)
            judged = {each.ref: _reason_to_stay(each, names, known, before) for each in found}
            going = [each for each in found if judged[each.ref] is None]
            kept = Counter(reason for reason in judged.values() if reason)
            young = frozenset(each.name for each in found if judged[each.ref] == YOUNG)
            left = sorted(place.name for place in (root / versioning_experiments.WORKTREES).glob("*"))
            if not dry_run:
                _delete(root, going)
                snapshot.clear(root, root / versioning_experiments.WORKTREES)
            objects, faults = _sweep(root, going, before, remote=remote, dry_run=dry_run)
    return Collected(tuple(going), kept, young, tuple(left), objects, faults)


def experiments(root: Path) -> list[Experiment]:
    """All saved experiments, oldest first.

    Raises:
        git.GitError: if ``root`` is in no git repository.
    """
    wanted = "--format=%(refname) %(objectname) %(committerdate:unix)"
    lines = git.run(root, "for-each-ref", "--sort=creatordate", wanted, "refs/exps/").splitlines()
    found = []
    for ref, revision, made in (line.split() for line in lines if len(line.split()) == 3):
        if match := versioning_experiments.EXPERIMENT_REF.fullmatch(ref):
            found.append(Experiment(ref, match["name"], revision, datetime.fromtimestamp(int(made), UTC)))
    return found


def _reason_to_stay(each: Experiment, names: Collection[str], known: Collection[str], before: datetime) -> str | None:
    if not each.name.startswith(versioning_experiments.PREFIXES):
        return FOREIGN
    if each.name in known:
        return KEPT_RETRAINING
    if each.made >= before:
        return YOUNG
    # Another store than the one in which its retraining was decided must not cost it.
    return None if each.name in names else UNKNOWN


def _delete(root: Path, going: list[Experiment]) -> None:
    commands = "".join(f"delete {each.ref} {each.revision}\n" for each in going)
    git.run(root, "update-ref", "--stdin", stdin=commands)  # all or nothing


def _sweep(
    root: Path, going: list[Experiment], before: datetime, *, remote: bool, dry_run: bool
) -> tuple[dict[str, Objects], tuple[str, ...]]:
    request: dict[str, Any] = {"root": str(root), "before": before.timestamp(), "cloud": remote, "dry": dry_run}
    try:
        answer = versioning_experiments.ask(
            "gc", root, request | {"without": [each.ref for each in going] if dry_run else []}
        )
    except VersioningError as error:
        return {}, (f"DVC's objects stay where they are: {error}",)
    fault = answer.pop("remote_fault")
    faults = (f"DVC's remote stays as it is: {fault}",) if fault else ()
    return {place: Objects(**found) for place, found in answer.items()}, faults
