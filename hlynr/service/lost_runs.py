"""Runs of this machine's worker that the server believes to be under way, though their process is gone.

The worker itself tells when a run's process dies, and the server's heartbeat automation finds what a lost machine
leaves. This finds what remains: the worker was killed too, or the whole machine went down and came back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psutil

from hlynr.config.project import Project
from hlynr.service import alerts
from hlynr.service.prefect_api import SILENT, PrefectApi, PrefectUnavailableError

PENDING_PATIENCE = 120.0
"""[s] a run may take from being taken by the worker to having a process."""


class LostRuns:
    """What is known of the worker's runs from one look to the next."""

    def __init__(self, project: Project, api: PrefectApi, worker: str) -> None:
        self._project, self._api, self._worker = project, api, worker
        self._suspects: set[str] = set()

    def sweep(self) -> list[str]:
        """End the runs that have had no process at two looks in a row; returns a line for each."""
        try:
            lost = {run["id"]: run for run in self._api.unfinished(self._worker) if _lost(run)}
            ended = [lost[run_id] for run_id in self._suspects & lost.keys()]
            for run in ended:
                self._api.crash(run["id"], "Its process is gone: it was killed together with its worker.")
        except PrefectUnavailableError:
            return []  # the keeper tells that the server is away
        self._suspects = lost.keys() - {run["id"] for run in ended}
        for run in ended:
            text = f"run {run['name']} was lost: its process and its worker are gone"
            alerts.tell(self._project.root, self._project.config.alerts, "crashed", text, str(run["id"]))
        return [f"run {run['name']} has no process any more; it counts as crashed" for run in ended]

    def processes(self) -> list[psutil.Process]:
        """Of the runs that are under way, with all their children."""
        try:
            pids = [_pid(run) for run in self._api.unfinished(self._worker)]
        except PrefectUnavailableError:
            return []
        own = [psutil.Process(pid) for pid in pids if pid is not None and _is_run(pid)]
        return [process for each in own for process in (each, *each.children(recursive=True))]


def _lost(run: dict[str, Any]) -> bool:
    pid = _pid(run)
    if pid is not None:
        return not _is_run(pid)
    since = datetime.fromisoformat(str(run["state"]["timestamp"]))
    return (datetime.now(UTC) - since).total_seconds() > PENDING_PATIENCE


def _pid(run: dict[str, Any]) -> int | None:
    text = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
    return int(text) if text.isdecimal() else None


def _is_run(pid: int) -> bool:
    """Whether a process of that number runs a flow; numbers are used again."""
    try:
        return any("prefect" in part for part in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


class CrashedRuns:
    """What has been told since this service, which has the server, is up; while it is not, no run is ended so."""

    def __init__(self, project: Project, api: PrefectApi) -> None:
        self._project, self._api = project, api
        self._since = datetime.now(UTC)
        self._told: set[str] = set()

    def look(self) -> list[str]:
        """Tell of each once, as an alert; returns a line for each."""
        try:
            crashed = self._api.crashed(self._since)
        except PrefectUnavailableError:
            return []  # the keeper tells that the server is away
        found = [
            run
            for run in crashed
            if run["id"] not in self._told and str(run["state"]["message"] or "").startswith(SILENT)
        ]
        for run in found:
            self._told.add(run["id"])
            text = f"run {run['name']} was lost, and perhaps its machine: {run['state']['message']}"
            alerts.tell(self._project.root, self._project.config.alerts, "crashed", text, str(run["id"]))
        return [f"run {run['name']} gave no sign of life any more; it counts as crashed" for run in found]
