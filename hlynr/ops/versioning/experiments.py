"""Each retraining saved as a DVC experiment, pushed, read back and verified; and a bundle restored from one.

An experiment is a commit on top of the user's HEAD under ``refs/exps/<2>/<38>/<name>``, which is all that
``dvc exp show`` and ``dvc exp apply`` look for. It is made here from a worktree of its own and not by
``dvc exp save``, because that stashes, detaches HEAD and resets on its way, in refs that worktrees share.
"""

import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from hlynr.config.config import Config
from hlynr.ops.versioning import git, git_locks, snapshot
from hlynr.records.base import intermediate
from hlynr.records.retraining import VersionRecord
from hlynr.runtime import environment, file_modes, locks, scratch
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.processes import last_line

BUNDLE = "outputs/train/bundle"
WORKTREES = ".hlynr/worktrees"
LOCK = ".hlynr/versioning.lock"  # held during a save
LOCK_TIMEOUT = 300.0  # [s] a save takes seconds, unless the remote is far away
DVC_TIMEOUT = 900.0  # [s]

_REF = re.compile(
    r"^(?P<ref>refs/exps/[0-9a-f]{2}/[0-9a-f]{38,}/(?P<name>[^/\s]+)) (?P<revision>\w+) (?P<made>\d+)$", re.MULTILINE
)
PREFIXES = ("retraining-", "night-")
"""Of the experiments that retrainings are saved as, with their lineage's id; the second one by earlier versions."""
_log = logging.getLogger(__name__)


class VersioningError(EnvironmentNotReady):
    """A revision could not be saved or restored; the message is one line for the user."""


def save(root: Path, name: str, config: Config, *, push: bool) -> VersionRecord:
    """Save the stages finished so far as the experiment ``name`` on top of HEAD, replacing one of that name.

    The project's files are taken as they are at this moment, uncommitted changes included; params.yaml as
    ``config``. Branch, HEAD, index, stash and files of ``root`` stay as they are. With ``push`` the outs go to the
    default remote and every byte is read back from it alone.

    Raises:
        VersioningError: if there is nothing to save, git or DVC fails, another save does not end in time, or what
            comes back is not what was saved; in the last case the experiment exists, but only locally.
    """
    root = root.resolve()
    with explained():
        _check_name(name)
        head = check_project(root)
        done = snapshot.finished(root, config.run.outputs)
        if not any(BUNDLE in stage.outs for stage in done):
            expected = snapshot.located(root, config.run.outputs, BUNDLE)
            raise VersioningError(f"nothing to save: {expected} and its files are not complete; train first")
        outs = [out for stage in done for out in stage.outs]
        with lock(root), snapshot.worktree(root, root / WORKTREES, head, config, done) as worktree:
            git_locks.clear(root, PREFIXES)
            stages = [stage.name for stage in done]
            answer = ask("commit", worktree, root=str(root), stages=stages, outs=outs, push=push)
            revision = snapshot.commit(worktree, f"dvc: commit experiment {name}")
            point(root, name, head, revision)
            if answer["push_fault"]:
                raise VersioningError(f"{name} is saved, but only locally: {answer['push_fault']}")
            if push:
                _verify(root, name, revision, worktree, outs)
    return VersionRecord(experiment=name, revision=revision, pushed=push, verified=push)


def restore(root: Path, revision: str, destination: Path) -> Path:
    """Bring the bundle of an experiment, branch, tag or commit back; ``destination`` appears only when complete.

    What the local DVC cache no longer has comes from the default remote.

    Raises:
        VersioningError: if the revision is unknown or holds no bundle, the bundle was never pushed or is damaged,
            or ``destination`` exists and is not an empty folder.
    """
    root, destination = root.resolve(), destination.absolute()
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise VersioningError(f"{destination} exists already; restore into a new or empty folder")
    with explained():
        check_project(root)
        destination.parent.mkdir(parents=True, exist_ok=True)
        for path in scratch.left(destination.parent, recursive=False):
            scratch.remove(path)
        partial_copy = intermediate(destination)
        try:
            ask("read", root, root=str(root), revision=revision, paths=[BUNDLE], destination=str(partial_copy))
            (partial_copy / BUNDLE).replace(destination)
        finally:
            shutil.rmtree(partial_copy, ignore_errors=True)
    return destination


@dataclass(frozen=True)
class Experiment:
    """One named ref below refs/exps."""

    ref: str
    name: str
    revision: str
    made: datetime


def saved(root: Path) -> list[Experiment]:
    """All saved experiments, oldest first.

    Raises:
        git.GitError: if ``root`` is in no git repository.
    """
    wanted = "--format=%(refname) %(objectname) %(committerdate:unix)"
    refs = git.run(root, "for-each-ref", "--sort=creatordate", wanted, "refs/exps/")
    return [
        Experiment(match["ref"], match["name"], match["revision"], datetime.fromtimestamp(int(match["made"]), UTC))
        for match in _REF.finditer(refs)
    ]


def experiment_names(lineage_id: str) -> tuple[str, ...]:
    """Possible names of a retraining's experiment, the present one first; none without an id."""
    return tuple(f"{prefix}{lineage_id}" for prefix in PREFIXES if lineage_id)


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors of git, the disk or a request into one line of a `VersioningError`."""
    try:
        yield
    except (git.GitError, OSError, ValueError) as error:
        raise VersioningError(" ".join(str(error).split())) from error


def _check_name(name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is None or ".." in name or name.endswith((".", ".lock")):
        raise VersioningError(f"{name!r} is no name for an experiment: letters, digits, '-', '_' and single '.' only")


def check_project(root: Path) -> str:
    """HEAD's hash, after checking that ``root`` is a project of git and DVC.

    Raises:
        VersioningError: naming what is missing and the remedy.
    """
    try:
        top = git.run(root, "rev-parse", "--show-toplevel")
    except git.GitError as error:
        remedy = f"; run `git init` in {root} first" if "not a git repository" in str(error) else ""
        raise VersioningError(f"versioning needs a git repository{remedy} ({error})") from error
    if Path(top).resolve() != root:
        raise VersioningError(f"versioning needs the project at the top of its git repository: {root} is not {top}")
    try:
        head = git.run(root, "rev-parse", "--verify", "HEAD^{commit}")
    except git.GitError as error:
        raise VersioningError(f"versioning needs a commit; commit the files of {root} first") from error
    for needed, remedy in ((".dvc", "run `dvc init`"), ("dvc.yaml", "bring it back, it describes the pipeline")):
        if not (root / needed).exists():
            raise VersioningError(f"{root / needed} is missing: {remedy}")
    return head


def lock(root: Path) -> AbstractContextManager[None]:
    """One save at a time, and none while something is removed."""
    path = root / LOCK
    busy = VersioningError(f"another process has been saving {root} for {LOCK_TIMEOUT:g} s (it holds {path})")
    on_wait = partial(_log.warning, "waiting for another save of %s to end", root)
    return locks.hold(path, busy=busy, wait=LOCK_TIMEOUT, on_wait=on_wait)


def point(root: Path, name: str, head: str, revision: str) -> None:
    """Make ``name`` a ref of ``revision`` alone, even if the user has committed since the first save."""
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    others = [each.ref for each in saved(root) if each.name == name and each.ref != ref]
    commands = [f"update {ref} {revision}", *(f"delete {other}" for other in others)]
    git.run(root, "update-ref", "--stdin", stdin="\n".join(commands) + "\n")  # all or nothing


def remove(root: Path, name: str) -> None:
    """Delete the refs of that name."""
    for each in saved(root):
        if each.name == name:
            git.run(root, "update-ref", "-d", each.ref)


def _verify(root: Path, name: str, revision: str, worktree: Path, outs: list[str]) -> None:
    """Read all outs back from the remote and compare their bytes with what was saved."""
    with tempfile.TemporaryDirectory(prefix="hlynr-verify-") as folder:
        back, cache = Path(folder) / "back", Path(folder) / "cache"
        try:
            ask("read", root, root=str(root), revision=revision, paths=outs, destination=str(back), cache=str(cache))
        except VersioningError as error:
            raise VersioningError(f"{name} is saved, but does not come back from the remote: {error}") from error
        for out in outs:
            if _sha256(worktree / out) != _sha256(back / out):
                raise VersioningError(f"{name} is saved, but {out} comes back from the remote with other bytes")


def _sha256(path: Path) -> dict[str, str]:
    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def ask(verb: str, directory: Path, timeout: float = DVC_TIMEOUT, **request: Any) -> dict[str, Any]:
    """Run `hlynr.ops.versioning.dvc_worker` for one request in ``directory``, and return its answer."""
    with tempfile.TemporaryDirectory(prefix="hlynr-dvc-") as site_cache:
        # By default DVC leaves a folder per project path under /var/tmp, one for each snapshot.
        own = {"DVC_SITE_CACHE_DIR": site_cache, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-P", str(Path(__file__).with_name("dvc_worker.py"))]
        try:
            done = subprocess.run(
                [*command, json.dumps({"verb": verb, **request})],
                cwd=directory,
                env=environment.of_child(own),
                capture_output=True,
                text=True,
                umask=file_modes.users_umask(),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise VersioningError(f"DVC's {verb} took longer than {timeout:g} s") from None
    if done.returncode or not done.stdout:
        reason = last_line(done.stderr) or f"exit status {done.returncode}"
        raise VersioningError(f"DVC's {verb} failed: {reason}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "fault" in answer:
        raise VersioningError(answer["fault"])
    return answer
