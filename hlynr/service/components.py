"""The components of a service: the command and environment of each, and how its health is checked."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service import prefect_server
from hlynr.service.prefect_api import PrefectApi, answers
from hlynr.service.process import Component

HEARTBEAT = 30
"""[s] between heartbeats of a flow run; after three missing ones the server marks it as crashed."""


@dataclass(frozen=True)
class Components:
    """All components, and what the supervisor must know to ask Prefect for the worker's runs."""

    all: tuple[Component, ...]
    """Prefect's server is the first."""
    api: PrefectApi
    worker: str
    """Name of this project's worker."""


def plan(project: Project, params_file: str, worker: tuple[str, ...]) -> Components:
    """The components of this machine; servers named by ``PREFECT_API_URL`` or ``tracking.uri`` run elsewhere.

    Args:
        worker: command of the worker, to which its name, the project and the params file are added.
    """
    settings = project.config.service
    elsewhere = os.environ.get("PREFECT_API_URL")
    local = f"http://{_reached(settings.host)}:{settings.prefect_port}"
    api = PrefectApi(elsewhere or f"{local}/api")
    common = prefect_server.environment(project) | {"PREFECT_API_URL": api.url}
    name = worker_name(project.root)
    if elsewhere:
        prefect = Component("prefect", api.healthy, elsewhere.removesuffix("/api"))
    else:
        command = prefect_server.command(settings.host, settings.prefect_port)
        prefect = Component(
            "prefect",
            api.healthy,
            local,
            command,
            environment=common | prefect_server.service_environment(project),
            port=("service.prefect_port", settings.prefect_port),
        )
    runs_flows = Component(
        "worker",
        lambda: api.worker_online(settings.pool, name),
        command=(*worker, name, str(project.root), params_file),
        after="prefect",
        environment=common | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)},
        patience=300.0,
    )
    return Components((prefect, _mlflow(project), runs_flows), api, name)


def require_ports(components: Components, host: str) -> None:
    """Raises `EnvironmentNotReady` naming the setting if a port to listen on is taken."""
    for component in components.all:
        if component.port:
            require_free(host, component.port[1], component.port[0])


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
    """Of this machine's worker of this project; the same after every start, so that it finds its runs again."""
    return f"{socket.gethostname()}-{hashlib.sha256(str(root).encode()).hexdigest()[:6]}"


def _mlflow(project: Project) -> Component:
    from hlynr.ops.tracking import server

    uri, settings = project.config.tracking.uri, project.config.service
    if uri.startswith(("http://", "https://")):
        return Component("mlflow", lambda: answers(f"{uri}/health"), uri)
    host, port = settings.host, settings.mlflow_port
    url = f"http://{_reached(host)}:{port}"
    return Component(
        "mlflow",
        lambda: answers(f"{url}/health"),
        url,
        tuple(server.command(project.config, project.root, host, port, list(settings.allowed_hosts))),
        environment=server.ENVIRONMENT,
        port=("service.mlflow_port", port),
    )


def _reached(host: str) -> str:
    """How this machine itself reaches a server that listens on ``host``."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
