"""Runs that the server's heartbeat automation has ended: their machine is lost, so nobody there can tell of it."""

from __future__ import annotations

from datetime import UTC, datetime

from hlynr import alerts
from hlynr.project import Project
from hlynr.service.prefect_api import SILENT, NoAnswerError, PrefectApi


class Silenced:
    """What has been told since this service, which has the server, is up; while it is not, no run is ended so."""

    def __init__(self, project: Project, api: PrefectApi) -> None:
        self._project, self._api = project, api
        self._since = datetime.now(UTC)
        self._told: set[str] = set()

    def look(self) -> list[str]:
        """Tell of each once, as an alert; returns a line for each."""
        try:
            crashed = self._api.crashed(self._since)
        except NoAnswerError:
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
