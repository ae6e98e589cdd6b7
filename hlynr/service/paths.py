"""Where the service keeps its things in a project, and whether it is up."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hlynr.records.service import ServiceState
from hlynr.runtime import locks
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

    def held(self) -> AbstractContextManager[None]:
        """Be the service of this project.

        Raises:
            AlreadyUpError: if another process is.
        """
        busy = AlreadyUpError(f"{self.root}: the service is up already; hlynr status tells how it is")
        return locks.hold(self.folder / "service.lock", busy=busy, wait=0.0)

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
