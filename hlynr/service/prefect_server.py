"""Prefect's server: the one that the service keeps running, and one for a single command, which ends with it.

Prefect would start the latter by itself. But that one shares the terminal's Ctrl-C and so is gone before the flow can
report its end, it outlives a parent that was killed, and all it says of a failed start is that time ran out.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.parent import end_with
from hlynr.runtime.processes import last_line
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import answers
from hlynr.service.prefect_private import EPHEMERAL, LEASES_ON_DISK, SERVER_APP
from hlynr.service.process_guard import terminate

START_TIMEOUT = 120.0
"""[s] it takes 10 to 40 on a busy machine."""
STOP_TIMEOUT = 10.0
VACUUMED = "events,flow_runs,orphans"
"""What the server deletes after retention.days."""
_HINT = "see whether its versions fit: pip install --constraint constraints.txt --editable ."


@dataclass
class PrefectServer:
    """A server that has been started."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            EnvironmentNotReady: if it ends instead, or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not answers(f"{self.url}/health", timeout=5.0):
            if self.process.poll() is not None:
                reason = last_line(self.log) or f"no reason given in {self.log}"
                raise EnvironmentNotReady(f"Prefect's server did not start: {reason}; {_HINT}")
            if time.monotonic() > deadline:
                raise EnvironmentNotReady(f"Prefect's server does not answer after {START_TIMEOUT:g} s, see {self.log}")
            time.sleep(0.1)

    def stop(self) -> None:
        terminate(self.process, STOP_TIMEOUT)


def start(project: Project) -> PrefectServer | None:
    """Start a server with a database of the project's own; None where the environment names a server or one is up.

    Must run before prefect is imported, which reads its settings from the environment then. Stopped at exit,
    after prefect's own exit handlers have sent their last events.
    """
    # The flow prints its own progress and errors; Prefect's lines stay in its database for the UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.update(environment(project))
    if "PREFECT_API_URL" in os.environ:
        return None
    if up := ServicePaths(project.root).running():
        os.environ["PREFECT_API_URL"] = up.prefect_api
        return None
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    server = _started(home / "server.log", free_port())
    atexit.register(server.stop)
    os.environ["PREFECT_API_URL"] = server.url
    return server


def environment(project: Project) -> dict[str, str]:
    """Of every process that imports Prefect for this project; variables that are set already keep their values."""
    return _unless_set(
        {
            "PREFECT_HOME": str(project.root / ".hlynr" / "prefect"),
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
    )


def service_environment(project: Project) -> dict[str, str]:
    """Of the server that the service keeps running, beside `environment`."""
    vacuum = "PREFECT_SERVER_SERVICES_DB_VACUUM"
    return _unless_set(
        {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(project),
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES_ON_DISK,
            f"{vacuum}_ENABLED": VACUUMED,
            f"{vacuum}_RETENTION_PERIOD": str(project.config.retention.days * 86400),
        }
    )


def command(host: str, port: int, parent: int = 0) -> tuple[str, ...]:
    """What runs a server.

    Args:
        parent: id of the process that it must end with; 0 where its supervisor ends it.
    """
    return (sys.executable, "-P", "-m", "hlynr.service.prefect_server", host, str(port), str(parent))


def free_port() -> int:
    """A port of 127.0.0.1 that no process uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _unless_set(variables: dict[str, str]) -> dict[str, str]:
    return {name: os.environ.get(name, value) for name, value in variables.items()}


def _database(project: Project) -> str:
    """In the form in which Prefect takes it, with its asynchronous drivers."""
    uri = project.config.service.database
    if uri.startswith("sqlite:///"):
        path = project.root / uri.removeprefix("sqlite:///")
        path.parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite+aiosqlite:///{path}"
    return uri.replace("postgresql://", "postgresql+asyncpg://", 1)


def _started(log: Path, port: int) -> PrefectServer:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("127.0.0.1", port, os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | EPHEMERAL,
            start_new_session=True,
        )
    return PrefectServer(process, f"http://127.0.0.1:{port}/api", log)


def main() -> None:
    """Be the server; arguments as in `command`."""
    import uvicorn

    host, port, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if parent:
        end_with(parent, kill_after=STOP_TIMEOUT)
    uvicorn.run(SERVER_APP, factory=True, host=host, port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
