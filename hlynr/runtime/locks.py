"""File locks, which the operating system frees when their holder is killed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from hlynr.runtime.errors import EnvironmentNotReady


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

    It does not wait: after the first retraining the next one has another number, other seeds and another champion.

    Raises:
        BusyError: if another process does.
    """
    busy = BusyError(f"{root}: another {what} is going on here; wait for it, or stop it")
    return hold(root / ".hlynr" / f"{what.replace(' ', '-')}.lock", busy=busy, wait=0.0)
