"""Intermediate files: a folder for each process, and what killed processes have left of theirs.

A killed process cannot clean up, and the temporary files of MLflow, DVC and stable-baselines3 have names that tell
nothing. So each of our processes points `tempfile`, and through TMPDIR its children, to a folder of its own, which is
locked as long as the process lives. The next process removes those that no process holds any more.
"""

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hlynr.runtime import environment
from hlynr.runtime.errors import EnvironmentNotReady

_PREFIX = "process-"
_INTERMEDIATE = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.(?P<kind>tmp|old)")
"""Names that `hlynr.records.base.intermediate` gives."""
_owners: list[int] = []
"""The processes that `claim` was called in: this one, and those it was forked from."""


def user_folder() -> Path:
    """This user's folder for temporary files of all our processes; it may not exist yet."""
    name = f"hlynr-{os.getuid()}"
    named = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    if named.parent.name == name:  # a parent's folder, which may be gone by now
        return named.parent
    return Path(tempfile.gettempdir()) / name


def claim() -> None:
    """Use a folder of this process's own for temporary files until it ends; remove those of dead processes.

    Raises:
        EnvironmentNotReady: if the folder cannot be made, or the user's folder belongs to another user.
    """
    if os.getpid() in _owners:
        return
    base = user_folder()
    try:
        base.mkdir(mode=0o700, exist_ok=True)
        if base.is_symlink() or base.stat().st_uid != os.getuid():
            raise EnvironmentNotReady(f"TMPDIR: {base} is no folder of this user's own")
        with _locked(base):
            _remove_unheld(base)
            own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            _lock(own)  # held until the process ends, however it ends
    except OSError as error:
        raise EnvironmentNotReady(f"TMPDIR: {base} cannot be used for temporary files: {error.strerror}") from None
    _owners.append(os.getpid())
    tempfile.tempdir = str(own)
    environment.extend({"TMPDIR": str(own)})
    atexit.register(_release, os.getpid(), own)


def left(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Intermediate files and folders of processes that are gone, below ``folder``."""
    found = [(path, _INTERMEDIATE.fullmatch(path.name)) for path in (folder.rglob if recursive else folder.glob)(".*")]
    return sorted(path for path, name in found if name and not _is_alive(int(name["pid"])))


def remove(path: Path) -> None:
    """Remove one of `left`; a folder that had to make room for one that never came gets its name back."""
    name = _INTERMEDIATE.fullmatch(path.name)
    target = path.with_name(name["name"]) if name else path
    if name and name["kind"] == "old" and not target.exists():
        path.rename(target)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _release(owner: int, own: Path) -> None:
    if os.getpid() == owner:  # not in a fork of it
        shutil.rmtree(own, ignore_errors=True)


def _remove_unheld(base: Path) -> None:
    for path in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # held, or removed by its process meanwhile
            descriptor = _lock(path, wait=False)
            try:
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, *, wait: bool = True) -> int:
    """Lock a folder by a descriptor, which the system closes with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
