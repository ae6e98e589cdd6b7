"""`hlynr doctor --repair`, and what `hlynr status` says has to be mended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hlynr.config.project import Project
from hlynr.ops.registry import journal, standing
from hlynr.ops.registry.standing import REPAIR
from hlynr.ops.tracking import abandoned
from hlynr.ops.tracking.store import Store, open_existing
from hlynr.ops.versioning import experiments, git, git_locks, snapshot
from hlynr.records.store_finding import StoreFinding
from hlynr.runtime import locks, scratch


@dataclass(frozen=True)
class Leftover:
    """Something to mend."""

    what: str
    remedy: str = REPAIR
    mend: Callable[[], object] | None = None
    """None where a person has to decide."""

    def found(self) -> StoreFinding:
        return StoreFinding(what=self.what, remedy=self.remedy, repairable=self.mend is not None)

    def mended(self) -> StoreFinding:
        """Mend it, and say how that went."""
        if self.mend is None:
            return self.found()
        try:
            self.mend()
        except Exception as error:  # whatever the stores, git and the disk raise: the others are mended all the same
            return self.found().model_copy(update={"remedy": f"not mended: {' '.join(str(error).split())}"})
        return self.found().model_copy(update={"repaired": True})


Surveyor = Callable[[Project, Store | None], Iterator[Leftover]]


def look(project: Project, store: Store | None) -> list[StoreFinding]:
    """Everything to mend; what a retraining under way may still need is none of it."""
    return [leftover.found() for leftover in _survey(project, store)]


def repair(project: Project) -> list[StoreFinding]:
    """Mend what only a dead process can have left; a second time finds nothing more.

    Raises:
        hlynr.runtime.locks.BusyError: if a retraining is going on in the project.
        hlynr.ops.versioning.experiments.VersioningError: if a save does not end in time.
    """
    store = open_existing(project.config, project.root)
    with locks.one_at_a_time(project.root), experiments.lock(project.root):
        found = [leftover for survey in SURVEYORS for leftover in survey(project, store)]
        return [leftover.mended() for leftover in found]


def _survey(project: Project, store: Store | None) -> Iterator[Leftover]:
    retraining = locks.is_held(locks.path_of(project.root))
    for survey in SURVEYORS:
        if not (retraining and survey in WHILE_IDLE):
            yield from survey(project, store)


def _registry(project: Project, store: Store | None) -> Iterator[Leftover]:
    for finding in standing.look(store).findings if store else ():
        yield Leftover(finding.what, finding.remedy, partial(_settle, store) if finding.repairable and store else None)


def _settle(store: Store) -> None:
    with store.registry_lock() as confirm:
        journal.settle(store, confirm)


def _runs(project: Project, store: Store | None) -> Iterator[Leftover]:
    if store is None:
        return
    for run in abandoned.lost(store, project.root):
        what = f"MLflow's run {run.info.run_name or run.info.run_id} is marked as running, but its process is dead"
        yield Leftover(what, mend=partial(abandoned.close_run, store, run.info.run_id))


def _git(project: Project, store: Store | None) -> Iterator[Leftover]:
    try:
        paths = git_locks.left(project.root, experiments.PREFIXES)
    except git.GitError:
        return  # no repository: the check of git says so, where one is needed
    for path in paths:
        yield Leftover(f"{path} was left in git by a killed process", mend=partial(path.unlink, missing_ok=True))


def _worktrees(project: Project, store: Store | None) -> Iterator[Leftover]:
    folder = project.root / experiments.WORKTREES
    for path in sorted(folder.glob("*")):
        what = f"{path} was left by a save that was killed"
        yield Leftover(what, mend=partial(snapshot.clear, project.root, folder))


def _dvc(project: Project, store: Store | None) -> Iterator[Leftover]:
    """DVC removes entries of dead processes by itself, but fails on a file that a kill has cut short."""
    path = project.root / ".dvc" / "tmp" / "rwlock"
    with suppress(git.GitError):  # no repository, so no DVC either
        if not path.is_file() or _is_json(path) or git_locks.at_work(project.root):
            return
        yield Leftover(f"{path} was cut short by a kill; DVC's own commands fail", mend=partial(path.unlink, True))


def _intermediate(project: Project, _: Store | None) -> Iterator[Leftover]:
    for path in project.left():
        yield Leftover(f"{path} was left by a killed process", mend=partial(scratch.remove, path))


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (ValueError, FileNotFoundError):
        return not path.exists()


SURVEYORS: tuple[Surveyor, ...] = (_registry, _runs, _git, _worktrees, _dvc, _intermediate)
"""A new kind of leftover is one more of these."""
WHILE_IDLE = frozenset({_runs, _worktrees})
"""Those whose things a retraining under way uses."""
