"""Lost runs: which are marked as crashed, when, and with which alert."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import projects

from hlynr.config.project import Project
from hlynr.service.alerts import log_file
from hlynr.service.lost_runs import START_PATIENCE, LostRuns
from hlynr.service.prefect_api import PrefectUnavailableError
from hlynr.service.prefect_private import FLOW_RUN_ID


@dataclass
class Api:
    """Prefect's server, as far as lost runs are concerned."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    def unfinished(self, worker: str) -> list[dict[str, Any]]:
        assert worker == "worker"
        return [run for run in self.runs if run["id"] not in self.crashes]

    def crashed(self, since: datetime) -> list[dict[str, Any]]:
        return self.ended

    def crash(self, run_id: str, message: str) -> None:
        self.crashes.append(run_id)


def _run(name: str, pid: int | None, *, age: float = 0.0, message: str = "") -> dict[str, Any]:
    state = {"timestamp": datetime.now(UTC) - timedelta(seconds=age), "message": message}
    return {"id": f"id-{name}", "name": name, "infrastructure_pid": str(pid) if pid else None, "state": state}


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of the run called alive."""
    monkeypatch.setenv(FLOW_RUN_ID, "id-alive")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as child:
        yield child.pid
        child.kill()


def _lost(api: Any, root: Path, own_server: bool = True) -> LostRuns:
    return LostRuns(Project(root, projects.config(projects.OURS)), api, "worker", own_server=own_server)


def test_a_run_without_its_process_is_crashed_at_the_second_check(tmp_path: Path, process: int) -> None:
    """`reused`: another process has its number by now."""
    api = Api([_run("alive", process), _run("dead", 2**22 + 1), _run("reused", process)])
    lost = _lost(api, tmp_path)
    assert lost.check() == []
    lines = lost.check()
    assert sorted(lines) == [f"run {name} was lost: its process and its worker are gone" for name in ("dead", "reused")]
    assert sorted(api.crashes) == ["id-dead", "id-reused"]
    assert log_file(tmp_path).read_text().count("crashed") == 2
    assert lost.check() == []
    assert [each.pid for each in lost.processes()] == [process]


def test_a_run_that_gets_no_process_is_lost_after_a_while(tmp_path: Path) -> None:
    api = Api([_run("new", None), _run("stuck", None, age=START_PATIENCE + 60.0)])
    lost = _lost(api, tmp_path)
    lost.check()
    lost.check()
    assert api.crashes == ["id-stuck"]


@pytest.mark.parametrize("own_server", [True, False])
def test_runs_ended_by_the_heartbeat_automation_are_reported_once_beside_the_server(
    tmp_path: Path, own_server: bool
) -> None:
    silent = _run("silent", 1, message="No sign of life for 90 s.")
    lost = _lost(Api(ended=[silent, _run("killed", 1, message="Process exited.")]), tmp_path, own_server)
    reported = ["run silent was lost, and perhaps its machine: No sign of life for 90 s."]
    assert lost.check() == (reported if own_server else [])
    assert lost.check() == []


def test_a_server_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([_run("dead", 2**22 + 1)])
    lost = _lost(api, tmp_path)
    lost.check()

    def away(*_: object) -> None:
        raise PrefectUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(api, "unfinished", away)
        assert lost.check() == []
        assert lost.processes() == []
        patch.setattr(api, "unfinished", lambda _: api.runs)
        patch.setattr(api, "crash", away)
        assert lost.check() == []
    assert lost.check() == ["run dead was lost: its process and its worker are gone"]
