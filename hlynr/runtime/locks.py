"""Locks that the operating system frees when their holder is killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hlynr.runtime.errors import EnvironmentNotReady


class BusyError(EnvironmentNotReady):
    """Another one is going on in the project."""


@contextmanager
def one_at_a_time(root: Path, what: str = "retraining") -> Iterator[None]:
    """Keep a second one out of the project; the operating system frees the lock of a killed one.

    It is turned away and does not wait: after the first one the retraining is another, and so is what to do.

    Raises:
        BusyError: if another one is going on.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(root / ".hlynr" / f"{what}.lock")
    Path(lock.lock_file).parent.mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(f"{root}: another {what} is going on here; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()
