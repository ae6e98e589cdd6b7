"""The components of a service: the command and environment of each, and how its health is checked."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.web_guard import EVERYWHERE
from hlynr.service import prefect_auth, prefect_server
from hlynr.service.prefect_api import PrefectApi, answers
from hlynr.service.prefect_private import SERVER_AUTH
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
    """Name of this machine's worker of this project, the same after every start, so that it finds its runs again."""


def plan(project: Project, params_file: str, worker: tuple[str, ...]) -> Components:
    """The components of this machine; servers named by ``PREFECT_API_URL`` or ``tracking.uri`` run elsewhere.

    Args:
        worker: command of the worker, to which its name, the project and the params file are added.
    """
    settings = project.config.service
    api = PrefectApi.elsewhere() or PrefectApi(
        f"{_url(settings.host, settings.prefect_port)}/api", prefect_auth.auth_string(project.root)
    )
    environment = prefect_server.environment(project) | api.environment
    name = f"{socket.gethostname()}-{hashlib.sha256(str(project.root).encode()).hexdigest()[:6]}"
    runs_flows = Component(
        "worker",
        lambda: api.worker_online(settings.pool, name),
        command=(*worker, name, str(project.root), params_file),
        after="prefect",
        environment=environment | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)},
        patience=300.0,
    )
    return Components((_prefect(project, api, environment), _mlflow(project), runs_flows), api, name)


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


def _prefect(project: Project, api: PrefectApi, environment: dict[str, str]) -> Component:
    url, settings = api.url.removesuffix("/api"), project.config.service
    if PrefectApi.elsewhere():
        return Component("prefect", api.healthy, url)
    return Component(
        "prefect",
        api.healthy,
        url,
        prefect_server.command(settings.host, settings.prefect_port, settings.allowed_hosts),
        environment=environment | prefect_server.service_environment(project) | {SERVER_AUTH: str(api.auth_string)},
        port=("service.prefect_port", settings.prefect_port),
    )


def _mlflow(project: Project) -> Component:
    from hlynr.ops.tracking import server

    uri, settings = project.config.tracking.uri, project.config.service
    if uri.startswith(("http://", "https://")):
        return Component("mlflow", lambda: answers(f"{uri}/health", b"OK"), uri)
    host, port = settings.host, settings.mlflow_port
    url = _url(host, port)
    return Component(
        "mlflow",
        lambda: answers(f"{url}/health", b"OK"),
        url,
        server.command(host, port, settings.allowed_hosts),
        environment=server.environment(project.config, project.root),
        port=("service.mlflow_port", port),
    )


def _url(host: str, port: int) -> str:
    """How this machine itself reaches a server that listens on ``host``."""
    if host in EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
