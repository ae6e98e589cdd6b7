"""Flow runs that end without a report: their process was killed together with its worker, or their machine is lost.

A worker reports a run whose process dies. What remains is found here, and each such run is an alert.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain

import psutil

from hlynr.config.project import Project
from hlynr.service import alerts
from hlynr.service.prefect_api import NO_HEARTBEAT, FoundRun, PrefectApi, PrefectUnavailableError
from hlynr.service.prefect_private import FLOW_RUN_ID

START_PATIENCE = 120.0
"""[s] a run may take from being taken by the worker to having a process."""


class LostRuns:
    """Finds lost runs of this machine's worker, and of all machines where Prefect's server runs here.

    Args:
        worker: name of this machine's worker.
        own_server: whether this service runs the server; otherwise the service beside the server sends the alerts.
    """

    def __init__(self, project: Project, api: PrefectApi, worker: str, *, own_server: bool) -> None:
        self._project, self._api, self._worker, self._own_server = project, api, worker, own_server
        self._since = datetime.now(UTC)
        self._suspects: set[str] = set()
        self._reported: set[str] = set()

    def check(self) -> list[str]:
        """Mark runs as crashed and send the alerts; returns a line for the log for each."""
        lines = []
        with suppress(PrefectUnavailableError):  # which the health check reports
            for run, reason in chain(self._without_process(), self._without_heartbeat()):
                lines.append(f"run {run['name']} was lost{reason}")
                alerts.notify(self._project.root, self._project.config.alerts, "crashed", lines[-1], str(run["id"]))
        return lines

    def processes(self) -> list[psutil.Process]:
        """The processes of this worker's unfinished runs, with all their children."""
        try:
            own = [psutil.Process(_pid(run)) for run in self._api.unfinished(self._worker) if _has_process(run)]
        except PrefectUnavailableError:
            return []
        return [process for each in own for process in (each, *each.children(recursive=True))]

    def _without_process(self) -> Iterator[tuple[FoundRun, str]]:
        """Runs that had no process in two checks in a row: the first may come between two states of a run."""
        lost = {run["id"]: run for run in self._api.unfinished(self._worker) if _is_lost(run)}
        confirmed, self._suspects = self._suspects & lost.keys(), set(lost)
        for run_id in confirmed:
            self._api.crash(run_id, "Its process is gone: it was killed together with its worker.")
            yield lost[run_id], ": its process and its worker are gone"

    def _without_heartbeat(self) -> Iterator[tuple[FoundRun, str]]:
        """Runs that the server's heartbeat automation has ended since this service started."""
        for run in self._api.crashed(self._since) if self._own_server else ():
            message = run["state"]["message"] or ""
            if message.startswith(NO_HEARTBEAT) and run["id"] not in self._reported:
                self._reported.add(run["id"])
                yield run, f", and perhaps its machine: {message}"


def _is_lost(run: FoundRun) -> bool:
    if _pid(run):
        return not _has_process(run)
    return (datetime.now(UTC) - run["state"]["timestamp"]).total_seconds() > START_PATIENCE


def _pid(run: FoundRun) -> int:
    """0 for a run that has no process yet."""
    text = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
    return int(text) if text.isdecimal() else 0


def _has_process(run: FoundRun) -> bool:
    """Whether the process of that number is this run's; numbers are used again."""
    try:
        return bool(psutil.Process(_pid(run)).environ().get(FLOW_RUN_ID) == run["id"])
    except psutil.Error:
        return False
