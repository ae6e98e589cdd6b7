"""`hlynr up`, `down` and `status`, and the errors they report."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from support import projects, services
from support.services import Service

from hlynr.records.service import ServiceStatus
from hlynr.runtime import locks
from hlynr.runtime.errors import BAD_INPUT, DONE, NOT_READY
from hlynr.service.paths import ServicePaths
from hlynr.service.status import LoadMeter


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which nothing is up."""
    return projects.make(tmp_path_factory.mktemp("up") / "project", *services.free_ports())


def test_a_port_in_use_is_reported_and_no_process_remains(root: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = projects.run(root, "hlynr", "up", "--detach", "--set", f"service.mlflow_port={port}")
    assert done.returncode == NOT_READY
    line = f"hlynr: service.mlflow_port: {port} on 127.0.0.1 cannot be used: Address already in use"
    assert done.stderr.splitlines()[-1] == line
    assert not services.remaining(root)
    assert ServicePaths(root).running() is None


def test_an_invalid_schedule_is_reported_before_anything_starts(root: Path) -> None:
    done = projects.run(root, "hlynr", "up", "--set", 'schedule.cron="0 25 * * *"')
    assert done.returncode == BAD_INPUT
    assert done.stderr.startswith('hlynr: schedule.cron: "0 25 * * *" is not five fields of cron')
    assert not services.remaining(root)


def test_status_and_down_without_a_service(root: Path) -> None:
    done = projects.run(root, "hlynr", "status", "--json", "-")
    assert done.returncode == NOT_READY
    status = ServiceStatus.model_validate_json(done.stdout)
    assert (status.healthy, status.reason) == (False, "the service is not up; hlynr up starts it")
    assert (status.components, status.runs, status.next_run, status.champion) == ((), (), None, None)
    assert status.review is None
    assert {use.name for use in status.disk} >= {"runs and models", "DVC remote", "service"}
    down = projects.run(root, "hlynr", "down")
    assert (down.returncode, down.stderr) == (DONE, "hlynr: nothing was up\n")


def test_the_state_file_of_a_killed_service_is_ignored(service: Service, tmp_path: Path) -> None:
    """Its number may by now be that of another process, even of another project's service."""
    state = service.state
    assert ServicePaths(service.root).running() is not None
    this = {"pid": os.getpid(), "born": psutil.Process().create_time()}
    for of_others in ({"pid": os.getpid()}, this, {}):
        state.model_copy(update=of_others).write(ServicePaths(tmp_path).state_file)
        assert ServicePaths(tmp_path).running() is None


def test_there_is_one_service_in_a_project(service: Service) -> None:
    with pytest.raises(locks.BusyError, match="the service is up already"), ServicePaths(service.root).held():
        pass
    before = service.state
    assert "is up already" in service.up()
    assert service.state.pid == before.pid
    assert [each.pid for each in service.state.components] == [each.pid for each in before.components]


def test_an_idle_service_uses_little_and_reports_its_status(service: Service) -> None:
    status = service.status()
    assert status.healthy, status.reason
    assert status.took is not None
    assert status.review is not None
    assert status.review.startswith(f"{status.components[1].url}/#/experiments/")
    load = LoadMeter(service.state.pid)
    time.sleep(20.0)
    taken = load.read()
    assert taken is not None
    assert taken.memory < 1.5 * 1024**3
    assert taken.cpu < 0.05
    shown = projects.run(service.root, "hlynr", "status").stdout
    assert "Healthy: all services run" in shown
    assert "Logs: .hlynr/service" in shown
    assert "of memory and" in shown


def test_all_ports_are_on_localhost(service: Service) -> None:
    tree = psutil.Process(service.state.pid).children(recursive=True)
    listening = {c.laddr.ip for each in tree for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_ctrl_c_stops_all_processes(root: Path) -> None:
    process = projects.start(root, "hlynr", "up")
    projects.until(lambda: (s := ServicePaths(root).running()) is not None and s.healthy, "health", 180.0)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == DONE, said
    assert " up after " in said
    assert said.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in said
    assert not services.remaining(root)
    assert ServicePaths(root).running() is None
