"""What `hlynr up` and `hlynr down` do from outside: start the supervisor here or detached, stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from hlynr.config.project import Project
from hlynr.records.base import write_text
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.processes import last_line
from hlynr.service import prefect_server, supervisor
from hlynr.service.paths import ServicePaths, lives

PAUSE = 0.2
STOP_TIMEOUT = 180.0
"""[s] for a retraining to come to its checkpoint and everything to end."""


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
    tell: Callable[[str], None],
) -> None:
    """Bring the service up and stay with it, or leave it running; where it is up, only deploy again.

    Raises:
        EnvironmentNotReady: if it does not come up.
    """
    place = ServicePaths(project.root)
    place.folder.mkdir(parents=True, exist_ok=True)
    write_text(place.overrides_file, json.dumps(overrides) + "\n")
    if up := place.running():
        _deploy([*commands.deploy, str(project.root), params_file], project, up.prefect_api)
        tell("the service is up already; its schedule is the one of the configuration now")
    elif detach:
        _detached(project, [*commands.service, str(project.root / params_file), *overrides])
    else:
        log = place.log("service")

        def both(line: str) -> None:
            tell(line)
            with log.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

        supervisor.run(project, params_file, commands.worker, both)


def down(project: Project) -> bool:
    """Stop the service; False if none was up.

    Raises:
        EnvironmentNotReady: if it does not end.
    """
    place = ServicePaths(project.root)
    state = place.running()
    if state is None:
        return False
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while lives(state):
        if time.monotonic() > deadline:
            raise EnvironmentNotReady(f"process {state.pid} does not end; see {place.log('service')}")
        time.sleep(PAUSE)
    return True


def _detached(project: Project, command: list[str]) -> None:
    place = ServicePaths(project.root)
    log = place.log("service")
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    while True:
        state = place.running()
        if state is not None and state.pid == process.pid and state.healthy:
            return
        if process.poll() is not None:
            raise EnvironmentNotReady(last_line(log).removeprefix("hlynr: ") or f"it ended, see {log}")
        time.sleep(PAUSE)


def _deploy(command: list[str], project: Project, api: str) -> None:
    """In a process of its own, which imports Prefect."""
    done = subprocess.run(
        command,
        env=os.environ | prefect_server.settings(project) | {"PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EnvironmentNotReady(last_line(done.stderr) or "it cannot be deployed")
