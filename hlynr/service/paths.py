"""The service's files in a project, and whether it is up."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from hlynr.records.service import ServiceOverrides, ServiceState
from hlynr.runtime import locks, processes


class ServicePaths:
    """The service's files below a project's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".hlynr" / "service"
        self.state_file = self.folder / "state.json"
        self.auth_file = root / ".hlynr" / "prefect-auth-string"
        """See `hlynr.service.prefect_auth`."""
        self.overrides_file = self.folder / "overrides.json"
        """A `ServiceOverrides`, which a restarted worker follows."""
        self._lock = self.folder / "service.lock"

    def log(self, name: str) -> Path:
        """The log of one component, or of the supervisor: ``service``."""
        return self.folder / f"{name}.log"

    def held(self) -> AbstractContextManager[None]:
        """Be the service of this project.

        Raises:
            locks.BusyError: if another process is.
        """
        busy = locks.BusyError(f"{self.root}: the service is up already; hlynr status shows its state")
        return locks.hold(self._lock, busy=busy, wait=0.0)

    def running(self) -> ServiceState | None:
        """The state of the running service; None if none runs, even if a killed one has left its file."""
        try:
            state = ServiceState.read(self.state_file)
        except (OSError, ValueError):
            return None
        return state if self.lives(state) else None

    def lives(self, state: ServiceState) -> bool:
        """Whether the process that wrote this still runs, which no other process is taken for: it is the one that has
        this project's service lock open, began when the state says, and has the state's command line.
        """
        began = processes.is_running(state.pid, state.born + 1.0, state.born - 1.0)
        return began and processes.is_ours(state.pid, self._lock, state.command)

    def overrides(self) -> list[str]:
        """The ``--set`` of the last `hlynr up`.

        Raises:
            OSError: if there was none, or its file cannot be read.
            DamagedFileError: if its file was changed.
        """
        return list(ServiceOverrides.read(self.overrides_file).overrides)
