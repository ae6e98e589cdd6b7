"""A git worktree of what really ran: HEAD, the changes on top of it, the effective params, the stages' outs.

It is made and removed without touching the project's branch, HEAD, index, stash or files; git only gains objects.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlynr.config.config import Config
from hlynr.ops.versioning import git, params_file

# Recorded even before they are added to git: without them the experiment would be no DVC project.
_PROJECT_FILES = ("dvc.yaml", "params.yaml", ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore")
_OUT_KINDS = ("outs", "metrics", "plots")


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml: paths relative to the project, with slashes."""

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]


def stages(root: Path) -> list[Stage]:
    """The stages of ``root``'s dvc.yaml.

    Raises:
        OSError: if there is none.
        ValueError: if it is no mapping of stages.
    """
    try:
        tree = YAML(typ="safe", pure=True).load((root / "dvc.yaml").read_text(encoding="utf-8"))
        entries: dict[str, Any] = tree["stages"]
        return [Stage(name, _paths(entry, ("deps",)), _paths(entry, _OUT_KINDS)) for name, entry in entries.items()]
    except (YAMLError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{root / 'dvc.yaml'} is no mapping of stages") from None


def _paths(entry: dict[str, Any], kinds: tuple[str, ...]) -> tuple[str, ...]:
    items = [item for kind in kinds for item in entry.get(kind, [])]
    return tuple(next(iter(item)) if isinstance(item, dict) else item for item in items)


def finished(root: Path, outputs: str) -> list[Stage]:
    """The stages whose outs all exist and are not older than the outs of other stages that they depend on.

    As in make: an evaluation older than the bundle beside it belongs to another retraining, and is left out.
    """
    everything = stages(root)
    produced = {out for stage in everything for out in stage.outs}
    done = []
    for stage in everything:
        times = [_times(located(root, outputs, out)) for out in stage.outs]
        made_from = [max(_times(located(root, outputs, dep)), default=0) for dep in stage.deps if dep in produced]
        if times and all(times) and max(made_from, default=0) <= min(map(min, times)):
            done.append(stage)
    return done


def located(root: Path, outputs: str, out: str) -> Path:
    """The path of an out of dvc.yaml, whose ``outputs`` may be another folder in run.outputs."""
    first, *rest = PurePosixPath(out).parts
    return root.joinpath(outputs, *rest) if first == "outputs" else root / out


def _times(path: Path) -> list[int]:
    """Modification times of the file, or of all files below the folder [ns]; empty where there is none."""
    return [file.stat().st_mtime_ns for file in (path, *path.rglob("*")) if file.is_file()]


@contextmanager
def worktree(root: Path, folder: Path, head: str, config: Config, done: list[Stage]) -> Iterator[Path]:
    """Make the snapshot in ``folder`` and remove it afterwards; one of a killed process is removed first.

    Args:
        folder: for snapshots only; the caller makes one at a time.
        done: stages whose outs are copied in.

    Raises:
        git.GitError: if git fails.
    """
    clear(root, folder)
    # Another path each time: a DVC process that outlived its killed parent must not write into this one.
    path = folder / secrets.token_hex(4)
    try:
        git.run(root, "worktree", "add", "--detach", "--no-checkout", str(path), head)  # runs no hook
        _overlay(root, path)
        _detach_params(root, path)
        params_file.align(path / "params.yaml", config)
        # Its entries of stages that are not in ``done`` are another retraining's figures.
        (path / "dvc.lock").unlink(missing_ok=True)
        for stage in done:
            for out in stage.outs:
                _copy(located(root, config.run.outputs, out), path / out)
        yield path
    finally:
        clear(root, folder)


def _overlay(root: Path, path: Path) -> None:
    """Fill the worktree with the project's files as they are now, in an index of its own."""
    git_dir = git.run(path, "rev-parse", "--absolute-git-dir")
    indexed = git.run(root, "ls-files", "--stage", "-z")
    git.run(path, "update-index", "-z", "--index-info", stdin=indexed)
    here = ("--git-dir", git_dir, "--work-tree", str(root))
    git.run(root, *here, "add", "--update", ".")
    wanted = {*_PROJECT_FILES, *(dep for stage in stages(root) for dep in stage.deps)}
    untracked = git.run(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *sorted(wanted))
    if untracked:  # a module that ran before it was added
        git.run(root, *here, "add", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=untracked)
    git.run(path, "checkout-index", "--all", "--force")


def _detach_params(root: Path, path: Path) -> None:
    """Where git keeps params.yaml as a link to a file that is not in the snapshot, the snapshot gets a copy of it."""
    params = path / "params.yaml"
    if params.is_symlink() and not (params.is_file() and params.resolve().is_relative_to(path.resolve())):
        params.unlink()
        shutil.copyfile(root / "params.yaml", params)


def commit(path: Path, message: str) -> str:
    """The snapshot as a commit on top of HEAD; no ref points to it yet. Returns its hash."""
    git.run(path, "add", "--update", ".")
    git.run(path, "add", "--force", "--", "dvc.lock", "dvc.yaml", "params.yaml")
    tree = git.run(path, "write-tree")
    return git.run(path, "commit-tree", "-p", "HEAD", "-m", message, tree, extra=_identity(path))


def _identity(path: Path) -> dict[str, str]:
    """Empty where git knows its user; else hlynr's: a container that trains unattended has no user.name."""
    try:
        git.run(path, "var", "GIT_COMMITTER_IDENT")
        git.run(path, "var", "GIT_AUTHOR_IDENT")
    except git.GitError:
        roles = ("AUTHOR", "COMMITTER")
        return {f"GIT_{r}_NAME": "hlynr" for r in roles} | {f"GIT_{r}_EMAIL": "hlynr@localhost" for r in roles}
    return {}


def _copy(source: Path, target: Path) -> None:
    """A copy, no link: DVC makes what it takes into its cache read-only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def clear(root: Path, folder: Path) -> None:
    """Remove the worktrees in ``folder`` and git's records of them, half-made and locked ones included.

    No ``git worktree prune``: it would also remove the record of a user's worktree on a disk that is not mounted.
    """
    shutil.rmtree(folder, ignore_errors=True)
    known = git.run(root, "worktree", "list", "--porcelain", "-z").split("\0")
    for path in [line.removeprefix("worktree ") for line in known if line.startswith(f"worktree {folder}/")]:
        git.run(root, "worktree", "remove", "--force", "--force", path)
