"""Lock files and broken refs that a killed process, or a power cut, left in the git repository.

git makes ``NAME.lock`` beside the file it is about to replace, and never looks whether its maker still lives. A lock is
removed only where no live process can hold it. None of ours can: the caller holds the lock of all saves. Of others, any
process of git or DVC that works in the repository counts as a holder, also one that may not be looked into. Programs
with git built in have other names, and other machines' processes are not visible at all: so locks that those take, too,
must have been left for a while. Of the experiments of retrainings none but ours are written.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from hlynr.ops.versioning import git

BRIEF = 10.0
"""[s] after which a lock of the packed refs is left over: git and others hold it for milliseconds."""
LONG = 600.0
"""[s] for all other locks; a commit may hold that of the index while its message is being written."""

_PACKED = "packed-refs.lock"
_REF = re.compile(r"([0-9a-f]{40,64}|ref: .+)\s*")
_PROGRAM = re.compile(r"git|git-.*|dvc")
_log = logging.getLogger(__name__)


def clear(root: Path, own: tuple[str, ...]) -> None:
    """Remove what would stop a save, with a line for each; to be called under the lock of saves.

    Args:
        own: beginnings of the names of the experiments that only saves write.

    Raises:
        git.GitError: if ``root`` is in no git repository.
    """
    folder = common_folder(root)
    for path in _in_the_way(folder, own):
        _await_age(path, BRIEF if path.name == _PACKED else 0.0)
        if _is_left(path, folder, own) and not at_work(root):
            _log.warning("%s was left by a killed process: removed", path)
            path.unlink(missing_ok=True)


def left(root: Path, own: tuple[str, ...]) -> list[Path]:
    """All locks and broken refs that no live process can hold, the user's own included."""
    folder = common_folder(root)
    found = [path for path in _in_the_way(folder, own) if _is_left(path, folder, own)]
    others = [*folder.glob("*.lock"), *folder.glob("worktrees/*/*.lock"), *folder.glob("refs/**/*.lock")]
    found += [path for path in sorted(set(others) - set(found)) if _age(path) > LONG]
    return [] if found and at_work(root) else found


def common_folder(root: Path) -> Path:
    """The repository's folder, which all its worktrees share."""
    return (root / git.run(root, "rev-parse", "--git-common-dir")).resolve()


def _in_the_way(folder: Path, own: tuple[str, ...]) -> list[Path]:
    packed = folder / _PACKED
    experiments = [path for path in folder.glob("refs/exps/*/*/*") if _is_own(path, folder, own)]
    return [
        *([packed] if packed.exists() else ()),
        *(path for path in experiments if path.suffix == ".lock" or _broken(path)),
    ]


def _is_own(path: Path, folder: Path, own: tuple[str, ...]) -> bool:
    return path.is_file() and path.is_relative_to(folder / "refs" / "exps") and path.name.startswith(own)


def _is_left(path: Path, folder: Path, own: tuple[str, ...]) -> bool:
    return path.exists() and (_is_own(path, folder, own) or _age(path) > BRIEF)


def _broken(path: Path) -> bool:
    """Empty, as after a power cut, or no ref at all: git can neither read nor replace it."""
    return _REF.fullmatch(path.read_text(encoding="utf-8", errors="replace")) is None


def _age(path: Path) -> float:
    """[s]; 0 for one that has gone."""
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return 0.0


def _await_age(path: Path, age: float) -> None:
    while path.exists() and _age(path) <= age:
        time.sleep(0.2)


def at_work(root: Path) -> bool:
    """Whether a process of git or DVC is alive that may work in the repository at ``root``."""
    listed = git.run(root, "worktree", "list", "--porcelain").splitlines()
    trees = [Path(line.removeprefix("worktree ")) for line in listed if line.startswith("worktree ")]
    places = [common_folder(root), root.resolve(), *trees]
    return any(_may_work_in(process, places) for process in _candidates())


def _candidates() -> Iterator[psutil.Process]:
    own = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["name", "status", "cmdline"]):
        name, words = process.info["name"] or "", " ".join(process.info["cmdline"] or ())
        known = _PROGRAM.fullmatch(name) or (name.startswith("python") and "dvc" in words)
        if known and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid not in own:
            yield process


def _may_work_in(process: psutil.Process, places: Sequence[Path]) -> bool:
    try:
        folder, words = Path(process.cwd()), " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True
    return any(folder.is_relative_to(place) or str(place) in words for place in places)
