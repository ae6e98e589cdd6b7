"""File locks, which the operating system frees when their holder is killed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from hlynr.runtime.errors import EnvironmentNotReady

MOMENT = 0.3
"""[s] that `is_held` may hold a lock, at most."""


class BusyError(EnvironmentNotReady):
    """Another process does the same in the project."""


@contextmanager
def hold(
    path: Path, *, busy: Exception | None = None, wait: float = -1.0, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock file, made if it is missing; not reentrant.

    Args:
        busy: what to raise when another process still holds the lock after the wait.
        wait: [s]; without end if negative.
        on_wait: called once, before waiting.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise busy or BusyError(f"{path}: another process holds this lock") from None
    try:
        yield
    finally:
        lock.release()


def one_at_a_time(root: Path, what: str = "retraining") -> AbstractContextManager[None]:
    """Keep a second process from doing the same in the project.

    It waits for no longer than a look at the lock takes: after the first retraining the next one has another number,
    other seeds and another champion.

    Raises:
        BusyError: if another process does.
    """
    busy = BusyError(f"{root}: another {what} is going on here; wait for it, or stop it")
    return hold(path_of(root, what), busy=busy, wait=MOMENT)


def path_of(root: Path, what: str = "retraining") -> Path:
    """The lock file of `one_at_a_time`."""
    return root / ".hlynr" / f"{what.replace(' ', '-')}.lock"


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock file; makes none."""
    if not path.exists():
        return False
    try:
        with hold(path, wait=0.0):
            return False
    except BusyError:
        return True
