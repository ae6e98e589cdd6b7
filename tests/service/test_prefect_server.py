"""The Prefect server of one command: it ignores Ctrl-C, ends with its owner, and reports why it did not start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from support import projects, services

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service import prefect_server

OWNER = """
import signal, sys, time
from pathlib import Path
from hlynr.config import params
from hlynr.service import prefect_server
from hlynr.config.project import Project

signal.signal(signal.SIGINT, lambda *_: print("interrupted", flush=True))
server = prefect_server.start(Project(Path.cwd(), params.load(Path(sys.argv[1]))))
prefect_server.wait(server)
print(server.component.url, flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _no_server_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `start` sets is undone afterwards."""
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_it_ignores_ctrl_c_and_ends_with_a_killed_owner(tmp_path: Path) -> None:
    owner = projects.start(tmp_path, sys.executable, "-c", OWNER, str(projects.OURS / "params.yaml"))
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    processes = psutil.Process(owner.pid).children(recursive=True)
    assert len(processes) == 2  # the server and its guard
    os.killpg(owner.pid, signal.SIGINT)
    assert owner.stdout.readline() == "interrupted\n"
    with urlopen(f"{url}/health", timeout=10) as response:
        assert response.status == 200
    owner.kill()
    owner.communicate(timeout=30)
    projects.until(lambda: services.gone(*processes), "the server's end", 30)


def test_it_reports_why_it_did_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "nonsense://nowhere"}
    monkeypatch.setattr(prefect_server, "EPHEMERAL", prefect_server.EPHEMERAL | nowhere)
    project = Project(tmp_path, projects.config(projects.OURS))
    server = prefect_server.start(project)
    assert server is not None
    with pytest.raises(EnvironmentNotReady, match=r"Prefect's server did not start: .*nonsense.*pip install") as raised:
        prefect_server.wait(server)
    assert "\n" not in str(raised.value)


def test_none_is_started_where_the_environment_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    assert prefect_server.start(Project(tmp_path, projects.config(projects.OURS))) is None
    assert not (tmp_path / ".hlynr").exists()
