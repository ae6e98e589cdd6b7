"""`hlynr up` and `hlynr down`: start the supervisor in this process or detached, deploy again, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from hlynr.config.project import Project
from hlynr.records.service import ServiceOverrides, ServiceState
from hlynr.runtime import environment, processes, streams
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.processes import last_line
from hlynr.service import prefect_auth, prefect_server, supervisor
from hlynr.service.paths import ServicePaths

POLL = 0.2
STOP_TIMEOUT = 180.0
"""[s] for a retraining to write its checkpoint and all processes to end."""


@dataclass(frozen=True)
class FlowCommands:
    """Commands of the layer above, each to be followed by its arguments."""

    service: tuple[str, ...]
    """The supervisor, detached: params file, overrides."""
    worker: tuple[str, ...]
    """The worker: its name, project folder, name of the params file."""
    deploy: tuple[str, ...]
    """Makes deployments and schedule known to the server: project folder, name of the params file."""


def up(
    project: Project,
    params_file: str,
    overrides: list[str],
    commands: FlowCommands,
    *,
    detach: bool,
    say: Callable[[str], None],
) -> None:
    """Start the service and stay with it, or leave it running; where it is up, only deploy again.

    Raises:
        EnvironmentNotReady: if it does not start.
    """
    paths = ServicePaths(project.root)
    ServiceOverrides(overrides=tuple(overrides)).write(paths.overrides_file)
    if running := paths.running():
        _deploy([*commands.deploy, str(project.root), params_file], project, running)
        say("the service is up already; its schedule is the one of the configuration now")
        return
    _create_store(project)
    if detach:
        _detached(paths, [*commands.service, str(project.root / params_file), *overrides])
    else:
        with paths.log("service").open("ab") as file:
            log = streams.lasting(file.fileno())

            def note(line: str) -> None:
                say(line)
                print(line, file=log)

            supervisor.run(project, params_file, commands.worker, note)


def down(project: Project) -> bool:
    """Stop the service; False if none was up.

    Raises:
        EnvironmentNotReady: if it does not end.
    """
    paths = ServicePaths(project.root)
    state = paths.running()
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while processes.is_running(state.pid, state.born + 1.0, state.born - 1.0):  # also after it has let the lock go
        if time.monotonic() > deadline:
            raise EnvironmentNotReady(f"process {state.pid} does not end; see {paths.log('service')}")
        time.sleep(POLL)
    return True


def _create_store(project: Project) -> None:
    """Before MLflow's server and a retraining would race to create it."""
    if not project.config.tracking.uri.startswith(("http://", "https://")):
        from hlynr.ops.tracking import store

        store.open_store(project.config, project.root)


def _detached(paths: ServicePaths, command: list[str]) -> None:
    log = paths.log("service")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment.of_child(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while not ((state := paths.running()) and state.pid == process.pid and state.healthy):
        if process.poll() is not None:
            raise EnvironmentNotReady(last_line(log).removeprefix("hlynr: ") or f"it ended, see {log}")
        time.sleep(POLL)


def _deploy(command: list[str], project: Project, state: ServiceState) -> None:
    """In a process of its own, which imports Prefect."""
    own = prefect_server.environment(project) | prefect_auth.of_service(project.root, state).environment
    done = subprocess.run(
        command, env=environment.of_child(own), capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise EnvironmentNotReady(last_line(done.stderr).removeprefix("hlynr: ") or "it cannot be deployed")
