"""The state file: what an earlier version has written is read, and the name that scripts read stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil

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
    state = paths.running()
    assert state is not None
    assert [component.name for component in state.components] == ["prefect", "mlflow", "worker"]
    assert state.healthy
    state.write(paths.state_file)
    assert json.loads(paths.state_file.read_text()) == EARLIER


def test_a_process_that_began_at_another_time_is_not_the_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    for seconds in (-60.0, 60.0):
        paths.state_file.write_text(json.dumps(EARLIER | {"born": psutil.Process().create_time() + seconds}))
        assert paths.running() is None


def test_a_state_that_cannot_be_read_is_that_of_no_service(tmp_path: Path) -> None:
    paths = ServicePaths(tmp_path)
    paths.folder.mkdir(parents=True)
    for text in ("", "{}", '{"pid": 1}', json.dumps(EARLIER | {"unknown": 1})):
        paths.state_file.write_text(text)
        assert paths.running() is None
