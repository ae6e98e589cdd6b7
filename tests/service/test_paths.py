"""The state file: what an earlier version has written is read, and the name that scripts read stays."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.records.guarded_file import DamagedFileError
from hlynr.records.service import ServiceOverrides, ServiceState
from hlynr.runtime import processes
from hlynr.service import control
from hlynr.service.paths import ServicePaths

EARLIER = {
    "pid": os.getpid(),
    "born": psutil.Process().create_time(),
    "since": "2026-11-26T09:00:00Z",
    "prefect_api": "http://127.0.0.1:4200/api",
    "took": 31.5,
    "parts": [
        {"name": name, "state": "healthy", "url": None, "pid": 7, "restarts": 0, "log": f".hlynr/service/{name}.log"}
        for name in ("prefect", "mlflow", "worker")
    ],
}


def test_the_state_of_an_earlier_version_is_read_and_written_alike(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    paths.state_file.write_text(json.dumps(EARLIER))
    with paths.held():
        state = paths.running()
    assert state is not None
    assert [component.name for component in state.components] == ["prefect", "mlflow", "worker"]
    assert state.healthy
    state.write(paths.state_file)
    written = json.loads(paths.state_file.read_text())
    assert {key: value for key, value in written.items() if key in EARLIER} == EARLIER
    assert ServiceState.read(paths.state_file) == state


def test_a_process_that_began_at_another_time_is_not_the_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    with paths.held():
        for seconds in (-60.0, 60.0):
            paths.state_file.write_text(json.dumps(EARLIER | {"born": psutil.Process().create_time() + seconds}))
            assert paths.running() is None


@pytest.fixture
def foreign() -> Iterator[psutil.Process]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield psutil.Process(process.pid)
        process.kill()


def test_a_foreign_process_is_not_the_service_whatever_the_state_says(tmp_path: Path, foreign: psutil.Process) -> None:
    paths = ServicePaths(tmp_path)
    named = EARLIER | {"pid": foreign.pid, "born": foreign.create_time()}
    ServiceState.model_validate(named | {"command": tuple(foreign.cmdline())}).write(paths.state_file)
    assert paths.running() is None
    with paths.held():  # another one holds the lock
        assert paths.running() is None
        assert control.down(Project(tmp_path, Config.model_construct())) is False
    assert foreign.is_running()
    assert foreign.status() != psutil.STATUS_ZOMBIE


def test_the_holder_of_the_lock_with_another_command_line_is_not_the_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    with paths.held():
        state = ServiceState.model_validate(EARLIER | {"command": tuple(psutil.Process().cmdline())})
        state.write(paths.state_file)
        assert paths.running() == state
        state.model_copy(update={"command": ("sleep", "600")}).write(paths.state_file)
        assert paths.running() is None


def test_the_process_that_has_let_go_of_the_lock_is_not_the_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    with paths.held():
        ServiceState.model_validate(EARLIER).write(paths.state_file)
        assert paths.running() is not None
    assert paths.running() is None


@pytest.mark.parametrize("pid", [0, -1, 1, 2**31 - 1, 2**40, 2**70])
def test_no_number_of_a_process_is_trusted(tmp_path: Path, pid: int) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    paths.state_file.write_text(json.dumps(EARLIER | {"pid": pid}))
    assert paths.running() is None
    assert not processes.is_running(pid, begun_by=0.0)


def test_the_overrides_come_back_and_those_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    ServiceOverrides(overrides=("train.seed=7",)).write(paths.overrides_file)
    assert paths.overrides() == ["train.seed=7"]
    paths.overrides_file.write_text('["train.seed=8"]\n')
    assert paths.overrides() == ["train.seed=8"]
    for text in ("", "[", "[1]", "{}", '{"overrides": 3}'):
        paths.overrides_file.write_text(text)
        with pytest.raises(DamagedFileError, match=f"^{paths.overrides_file}: is no ServiceOverrides"):
            paths.overrides()


def test_a_state_file_that_is_a_pipe_is_that_of_no_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    os.mkfifo(paths.state_file)
    assert paths.running() is None


def test_a_state_that_cannot_be_read_is_that_of_no_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    for text in ("", "{}", '{"pid": 1}', json.dumps(EARLIER | {"unknown": 1})):
        paths.state_file.write_text(text)
        assert paths.running() is None
