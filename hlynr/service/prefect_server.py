"""Prefect's server: the one that the service keeps running, and one for a single command, which ends with it.

Prefect would start the latter by itself. But that one shares the terminal's Ctrl-C and so is gone before the flow can
report its end, it outlives a parent that was killed, and all it says of a failed start is that time ran out.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime import database_uri
from hlynr.runtime import environment as variables
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import PrefectApi
from hlynr.service.prefect_private import EPHEMERAL, LEASES_ON_DISK, SERVER_APP
from hlynr.service.process import Component, SupervisedProcess

START_TIMEOUT = 120.0
"""[s] it takes 10 to 40 on a busy machine."""
VACUUMED = "events,flow_runs,orphans"
"""What the server deletes after retention.days."""
_HINT = "see whether its versions fit: pip install --constraint constraints.txt --editable ."


def start(project: Project) -> SupervisedProcess | None:
    """Start a server with a database of the project's own; None where the environment names a server or one is up.

    Must run before prefect is imported, which reads its settings from the environment then. Stopped at exit,
    after prefect's own exit handlers have sent their last events.
    """
    # The flow prints its own progress and errors; Prefect's lines stay in its database for the UI.
    variables.extend({"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"} | environment(project))
    if os.environ.get("PREFECT_API_URL"):
        return None
    if up := ServicePaths(project.root).running():
        variables.extend({"PREFECT_API_URL": up.prefect_api})
        return None
    log = _home(project) / "server.log"
    log.unlink(missing_ok=True)
    port = free_port()
    api = PrefectApi(f"http://127.0.0.1:{port}/api")
    component = Component("prefect", api.healthy, api.url, command("127.0.0.1", port), environment=EPHEMERAL)
    server = SupervisedProcess(component, project.root, log)
    server.start()
    atexit.register(server.stop)
    variables.extend({"PREFECT_API_URL": api.url})
    return server


def wait(server: SupervisedProcess) -> None:
    """Return once the server of `start` answers.

    Raises:
        EnvironmentNotReady: if it ends instead, or does not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while not server.healthy:
        if time.monotonic() > deadline:
            raise EnvironmentNotReady(f"Prefect's server does not answer after {START_TIMEOUT:g} s, see {server.log}")
        server.poll()
        if server.status.state == "down":
            raise EnvironmentNotReady(f"Prefect's server did not start: {server.last_log_line()}; {_HINT}")
        time.sleep(0.1)


def environment(project: Project) -> dict[str, str]:
    """Of every process that imports Prefect for this project, beside what all children have."""
    return {"PREFECT_HOME": str(_home(project))}


def service_environment(project: Project) -> dict[str, str]:
    """Of the server that the service keeps running, beside `environment`."""
    vacuum = "PREFECT_SERVER_SERVICES_DB_VACUUM"
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(project),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES_ON_DISK,
        f"{vacuum}_ENABLED": VACUUMED,
        f"{vacuum}_RETENTION_PERIOD": str(project.config.retention.days * 86400),
    }


def command(host: str, port: int) -> tuple[str, ...]:
    """What runs a server."""
    return (sys.executable, "-P", "-m", "hlynr.service.prefect_server", host, str(port))


def free_port() -> int:
    """A port of 127.0.0.1 that no process uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _home(project: Project) -> Path:
    return project.root / ".hlynr" / "prefect"


def _database(project: Project) -> str:
    """In the form in which Prefect takes it, with its asynchronous drivers."""
    uri = database_uri.absolute(project.config.service.database, project.root, "sqlite+aiosqlite")
    if path := database_uri.file(uri):
        path.parent.mkdir(parents=True, exist_ok=True)
    return uri.replace("postgresql://", "postgresql+asyncpg://", 1)


def main() -> None:
    """Be the server; arguments as in `command`."""
    import uvicorn

    host, port, *_ = sys.argv[1:]  # a third one was given by earlier versions
    uvicorn.run(SERVER_APP, factory=True, host=host, port=int(port), log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
