"""A save in small, before a training: what git, DVC or the remote would not take after hours is found in seconds.

It goes the way of `hlynr.ops.versioning.experiments.save`, with an out of a few bytes, and leaves nothing: git's
objects go to a folder of their own, the ref is deleted, DVC's objects are removed from cache and remote. All names and
contents are the same each time in a project, so that the next rehearsal removes what a killed one has left.
"""

import shutil
import socket
from contextlib import suppress
from pathlib import Path

from hlynr.config.config import Config
from hlynr.ops.versioning import experiments, git, snapshot
from hlynr.ops.versioning.experiments import BUNDLE, VersioningError
from hlynr.runtime import locks

NAME = "hlynr-preflight"
"""Of the experiment, which exists for a moment only."""
OBJECTS = ".hlynr/preflight-objects"
WAIT = 2.0
"""[s] for another save to end; one that is going on shows all that this would."""
GIT_TIMEOUT, DVC_TIMEOUT = 30.0, 60.0
"""[s] after which a hook counts as hanging, and a remote as not answering."""


class _SavingError(VersioningError):
    """Another process saves at this moment."""


def rehearse(root: Path, config: Config, *, push: bool) -> str:
    """Save, push, read back and remove an experiment of a few bytes; returns where the real ones go.

    Raises:
        VersioningError: as the save would, in one line.
    """
    root = root.resolve()
    with experiments.explained(), git.limited(GIT_TIMEOUT):
        head = experiments.check_project(root)
        stage = next((stage for stage in snapshot.stages(root) if BUNDLE in stage.outs), None)
        if stage is None:
            raise VersioningError(f"{root / 'dvc.yaml'}: no stage has the out {BUNDLE}")
        try:
            with locks.hold(root / experiments.LOCK, busy=_SavingError(), wait=WAIT):
                return _rehearse(root, config, stage, head, push)
        except _SavingError:
            return "another save is going on"


def _rehearse(root: Path, config: Config, stage: snapshot.Stage, head: str, push: bool) -> str:
    objects = root / OBJECTS
    shutil.rmtree(objects, ignore_errors=True)
    _write_object(root)
    try:
        with (
            git.writing_objects(root, objects),
            snapshot.worktree(root, root / experiments.WORKTREES, head, config, []) as worktree,
        ):
            _fill(worktree, stage, f"{NAME} of {root} on {socket.gethostname()}\n")
            answer = experiments.ask(
                "rehearse", worktree, DVC_TIMEOUT, root=str(root), stage=stage.name, out=BUNDLE, push=push
            )
            snapshot.commit(worktree, NAME)
    finally:
        shutil.rmtree(objects, ignore_errors=True)
    try:
        experiments.point(root, NAME, head, head)
    finally:
        experiments.remove(root, NAME)
    return str(answer["remote"] or "saved in the cache only")


def _fill(worktree: Path, stage: snapshot.Stage, content: str) -> None:
    for out in stage.outs:
        path = worktree / out
        path = path if path.suffix else path / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", errors="surrogateescape")


def _write_object(root: Path) -> None:
    """Whether git's own store takes objects, which `_rehearse` keeps out of it: this one is known and unlinked."""
    folder = Path(git.run(root, "rev-parse", "--path-format=absolute", "--git-path", "objects"))
    name = git.run(root, "hash-object", "--stdin", stdin=f"{NAME}\n")
    path = folder / name[:2] / name[2:]
    path.unlink(missing_ok=True)
    git.run(root, "hash-object", "-w", "--stdin", stdin=f"{NAME}\n")
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
