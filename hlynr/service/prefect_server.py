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
from collections.abc import Sequence
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime import database_uri, web_guard
from hlynr.runtime import environment as variables
from hlynr.runtime.errors import EnvironmentNotReady, exit_code
from hlynr.service import prefect_auth
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import PrefectApi
from hlynr.service.prefect_private import EPHEMERAL, LEASES_ON_DISK, SERVER_APP, SERVER_AUTH
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
    elsewhere, up = PrefectApi.elsewhere(), ServicePaths(project.root).running()
    if up and (elsewhere is None or elsewhere.url == up.prefect_api):
        variables.extend(prefect_auth.of_service(project.root, up).environment)
        return None
    if elsewhere:
        return None
    log = _home(project) / "server.log"
    log.unlink(missing_ok=True)
    port = free_port()
    api = PrefectApi(f"http://127.0.0.1:{port}/api", prefect_auth.auth_string(project.root))
    asks = {SERVER_AUTH: str(api.auth_string)}
    component = Component("prefect", api.healthy, api.url, command("127.0.0.1", port), environment=EPHEMERAL | asks)
    server = SupervisedProcess(component, project.root, log)
    server.start()
    atexit.register(server.stop)
    variables.extend(api.environment)
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
        "PREFECT_UI_API_URL": "/api",  # of the name under which the page was opened
        f"{vacuum}_ENABLED": VACUUMED,
        f"{vacuum}_RETENTION_PERIOD": str(project.config.retention.days * 86400),
    }


def command(host: str, port: int, allowed_hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """What runs a server; its process needs the authentication string in `SERVER_AUTH`."""
    return (sys.executable, "-P", "-m", "hlynr.service.prefect_server", host, str(port), *allowed_hosts)


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
    """Be the server; arguments as in `command`.

    Raises:
        EnvironmentNotReady: without an authentication string.
    """
    from uvicorn.importer import import_from_string

    host, port, *allowed_hosts = sys.argv[1:]
    if not os.environ.get(SERVER_AUTH):
        raise EnvironmentNotReady(f"{SERVER_AUTH}: not set; hlynr up makes a string and starts the server with it")
    web_guard.serve(import_from_string(SERVER_APP)(), host, int(port), allowed_hosts)


if __name__ == "__main__":
    sys.exit(exit_code(main))
