"""Where the service keeps its things in a project, and whether it is up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hlynr.records.service import ServiceState
from hlynr.runtime.errors import EnvironmentNotReady


class AlreadyUpError(EnvironmentNotReady):
    """The project's service runs already."""


@dataclass(frozen=True)
class ServicePaths:
    """The service's files below a project's folder."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".hlynr" / "service"

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def overrides_file(self) -> Path:
        """What ``--set`` said when `hlynr up` was called last; a worker that is started anew follows it."""
        return self.folder / "overrides.json"

    def log(self, name: str) -> Path:
        """The log of one service, or of the process above them, ``service``."""
        return self.folder / f"{name}.log"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the service of this project; the operating system frees the lock of a killed one.

        Raises:
            AlreadyUpError: if another process is.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "service.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyUpError(f"{self.root}: the service is up already; hlynr status tells how it is") from None
        try:
            yield
        finally:
            lock.release()

    def running(self) -> ServiceState | None:
        """What the service that is up has written down; None if none is, whatever an earlier one left."""
        try:
            state = ServiceState.read(self.state_file)
        except (OSError, ValueError):
            return None
        return state if lives(state) else None


def lives(state: ServiceState) -> bool:
    """Whether the process that wrote this is still there; its number may by now be another one's."""
    import psutil

    try:
        process = psutil.Process(state.pid)
        return bool(abs(process.create_time() - state.born) < 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
