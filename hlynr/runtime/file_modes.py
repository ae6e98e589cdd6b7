"""Who may read a project's files: its stores, logs, state and outputs are their owner's alone.

They hold secrets, and what a later run trusts: weights, checkpoints, the code of logged models, process ids. Our
processes have a umask that says so, which MLflow and Prefect follow, too. Files that the user shares by other means
keep the user's own: those that an option names, git's and DVC's.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlynr.runtime import environment

PRIVATE = 0o077
FOLDERS = (".hlynr", "mlruns")
"""Of a project; earlier versions made them readable for everybody."""
_IN_EVERY_CLONE = "README.md"
_VARIABLE = "HLYNR_UMASK"
"""Environment variable of our processes with the umask of the user who started the first one."""


def keep_private() -> None:
    """Make what this process and its children write from now on their owner's alone."""
    before = os.umask(PRIVATE)
    if os.environ.get(_VARIABLE) is None:
        environment.extend({_VARIABLE: f"{before:o}"})


def users_umask() -> int:
    """For files that are not ours alone; this process's own where `keep_private` was not called."""
    noted = os.environ.get(_VARIABLE, "")
    if re.fullmatch("[0-7]{1,3}", noted):
        return int(noted, 8)
    own = os.umask(PRIVATE)
    os.umask(own)
    return own


@contextmanager
def as_the_user() -> Iterator[None]:
    """Make a file as the user would, with the folder's default access control list where it has one."""
    before = os.umask(users_umask())
    try:
        yield
    finally:
        os.umask(before)


def tighten(root: Path) -> int:
    """Take the files of a project's stores, logs and state from group and others; returns how many were open to them.

    A folder comes last, so that it is gone through again after a kill. What belongs to another user stays, as does a
    link's target.
    """
    return sum(_closed(root / name) for name in FOLDERS)


def _closed(folder: Path) -> int:
    if folder.is_symlink() or not folder.is_dir() or not _open_to_others(folder):
        return 0
    count = 0
    for parent, _, files in os.walk(folder, topdown=False):
        with suppress(OSError):  # removed meanwhile
            count += sum(_close(Path(parent, name)) and name != _IN_EVERY_CLONE for name in files)
            _close(Path(parent))
    return count


def _close(path: Path) -> bool:
    """Whether it was a file or folder of this user's that others could read."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or not found.st_mode & PRIVATE:
        return False
    path.chmod(stat.S_IMODE(found.st_mode) & ~PRIVATE)
    return True


def _open_to_others(folder: Path) -> bool:
    found = folder.stat()
    return found.st_uid == os.geteuid() and bool(found.st_mode & PRIVATE)
