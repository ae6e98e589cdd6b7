"""What a service consists of: which commands run, in which environment, and how one sees that they are well."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service import prefect_server
from hlynr.service.prefect_api import PrefectApi, answers

LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Kept on disk: of leases in memory a restarted server knows nothing, and the GPU slot would stay taken for ever."""
HEARTBEAT = 30
"""[s] between signs of life of a flow run; three missing ones and the server calls it crashed."""


@dataclass(frozen=True)
class Component:
    """One service: a command to keep running, or a server elsewhere that is only looked at."""

    name: str
    well: Callable[[], bool]
    url: str | None = None
    """Where people open it."""
    command: tuple[str, ...] | None = None
    """None: it runs elsewhere."""
    after: str | None = None
    """The part that must be well before this one is started."""
    environment: dict[str, str] = field(default_factory=dict)
    patience: float = 120.0
    """[s] without a sign of being well before it is started anew."""


@dataclass(frozen=True)
class Components:
    """All parts, and the environment of those that speak to Prefect."""

    parts: tuple[Component, ...]
    api: PrefectApi
    worker: str
    """Name of this project's worker."""


def plan(project: Project, params: str, worker: tuple[str, ...]) -> Components:
    """What has to run here: a server that the environment or the configuration names elsewhere is used instead."""
    settings = project.config.service
    given = os.environ.get("PREFECT_API_URL")
    local = f"http://{_reached(settings.host)}:{settings.prefect_port}"
    api = PrefectApi(given or f"{local}/api")
    common = prefect_server.settings(project) | {"PREFECT_API_URL": api.url}
    name = worker_name(project.root)
    parts = (
        Component("prefect", api.healthy, given.removesuffix("/api"))
        if given
        else Component("prefect", api.healthy, local, _prefect(project), environment=common | _server(project)),
        _mlflow(project),
        Component(
            "worker",
            lambda: api.worker_online(settings.pool, name),
            command=(*worker, name, str(project.root), params),
            after="prefect",
            environment=common | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)},
            patience=300.0,
        ),
    )
    return Components(parts, api, name)


def require_ports(parts: tuple[Component, ...], project: Project) -> None:
    """Raises `EnvironmentNotReady` if one of the ports to listen on is taken."""
    settings = project.config.service
    ports = {
        "prefect": ("service.prefect_port", settings.prefect_port),
        "mlflow": ("service.mlflow_port", settings.mlflow_port),
    }
    for part in parts:
        if part.name in ports and part.command:
            key, port = ports[part.name]
            require_free(settings.host, port, key)


def require_free(host: str, port: int, key: str) -> None:
    """Raises `EnvironmentNotReady` naming the key if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, socket.gaierror) as error:
            raise EnvironmentNotReady(f"{key}: {port} on {host} cannot be used: {error.strerror}") from None


def worker_name(root: Path) -> str:
    """Of this machine's worker of this project; the same after every start, so that it knows its runs again."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def _server(project: Project) -> dict[str, str]:
    """Only for Prefect's server."""
    vacuum = "PREFECT_SERVER_SERVICES_DB_VACUUM"
    days = project.config.retention.days
    chosen = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(project),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        f"{vacuum}_ENABLED": "events,flow_runs,orphans",
        f"{vacuum}_RETENTION_PERIOD": str(days * 86400),
    }
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _database(project: Project) -> str:
    """In the form in which Prefect takes it, with its asynchronous drivers."""
    uri = project.config.service.database
    if uri.startswith("sqlite:///"):
        path = project.root / uri.removeprefix("sqlite:///")
        path.parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite+aiosqlite:///{path}"
    return uri.replace("postgresql://", "postgresql+asyncpg://", 1)


def _prefect(project: Project) -> tuple[str, ...]:
    settings = project.config.service
    where = (settings.host, str(settings.prefect_port), "0")
    return (sys.executable, "-P", "-m", "hlynr.service.prefect_server", *where)


def _mlflow(project: Project) -> Component:
    from hlynr.ops.tracking import server

    uri, settings = project.config.tracking.uri, project.config.service
    if uri.startswith(("http://", "https://")):
        return Component("mlflow", lambda: answers(f"{uri}/health"), uri)
    url = f"http://{_reached(settings.host)}:{settings.mlflow_port}"
    command = server.command(
        project.config, project.root, settings.host, settings.mlflow_port, list(settings.allowed_hosts)
    )
    return Component("mlflow", lambda: answers(f"{url}/health"), url, tuple(command), environment=server.ENVIRONMENT)


def _reached(host: str) -> str:
    """How this machine itself reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
