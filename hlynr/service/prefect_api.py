"""The few requests of the service to a Prefect server, over plain HTTP.

Prefect's own client takes seconds and 100 MB to import, too much for a supervisor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service.prefect_private import WORKER_LABEL

TIMEOUT = 20.0
"""[s] for an answer of a server that may be under load."""
FLOW = "retrain"
"""The nightly flow's name."""
NIGHTLY = "nightly"
"""Its deployment's name."""
NO_HEARTBEAT = "No sign of life for"
"""How the message of a run begins that the heartbeat automation has ended."""


Run = dict[str, Any]
"""A flow run as the API returns it."""


class PrefectUnavailableError(EnvironmentNotReady):
    """Prefect's server does not answer, or not with what was asked for."""


@dataclass(frozen=True)
class DeployedSchedule:
    """A schedule as Prefect's server has it."""

    cron: str | None
    """None where another kind of schedule was set there."""
    timezone: str
    active: bool
    """Whether it is not paused."""


@dataclass(frozen=True)
class PrefectApi:
    """A server by the address of its API, like ``http://127.0.0.1:4200/api``."""

    url: str

    def healthy(self) -> bool:
        """Whether it answers at all."""
        return answers(f"{self.url}/health")

    def worker_online(self, pool: str, name: str) -> bool:
        """Whether the server has a recent heartbeat of the worker."""
        try:
            found = self._ask(f"/work_pools/{quote(pool)}/workers/filter", {})
        except PrefectUnavailableError:
            return False
        return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in found)

    def unfinished(self, worker: str) -> list[Run]:
        """Runs of the worker that have not ended as far as the server knows."""
        found = self._runs(200, state={"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}})
        return [run for run in found if (run.get("labels") or {}).get(WORKER_LABEL) == worker]

    def crashed(self, since: datetime) -> list[Run]:
        """Runs that have crashed since then."""
        return self._runs(200, state={"type": {"any_": ["CRASHED"]}}, end_time={"after_": since.isoformat()})

    def retrainings(self, limit: int) -> list[Run]:
        """The newest runs of the nightly flow that have begun or ended, the newest first."""
        return self._runs(limit, "EXPECTED_START_TIME_DESC", FLOW, state={"type": {"not_any_": ["SCHEDULED"]}})

    def next_retraining(self) -> Run | None:
        """The run that is due next; None if none is scheduled."""
        found = self._runs(1, "EXPECTED_START_TIME_ASC", FLOW, state={"type": {"any_": ["SCHEDULED"]}})
        return next(iter(found), None)

    def schedules(self) -> list[DeployedSchedule]:
        """The schedules of the nightly deployment, which people may have changed in Prefect's UI."""
        found = self._ask(f"/deployments/name/{FLOW}/{NIGHTLY}")
        return [
            DeployedSchedule(
                cron=entry["schedule"].get("cron"),
                timezone=entry["schedule"].get("timezone") or "UTC",
                active=entry["active"] and not found["paused"],
            )
            for entry in found["schedules"]
        ]

    def crash(self, run_id: str, message: str) -> None:
        """Set the state of a run to crashed."""
        state = {"type": "CRASHED", "name": "Crashed", "message": message}
        self._ask(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    def _runs(self, limit: int, sort: str = "START_TIME_DESC", flow: str | None = None, **chosen: Any) -> list[Run]:
        flows = {"name": {"any_": [flow]}} if flow else None
        found: list[Run] = self._ask(
            "/flow_runs/filter", {"flow_runs": chosen, "flows": flows, "sort": sort, "limit": limit}
        )
        return found

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a GET, or to a POST of the body."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=TIMEOUT) as response:
                return json.loads(response.read())
        except (URLError, OSError, ValueError) as error:
            detail = f"{error.code} {error.reason}" if isinstance(error, HTTPError) else str(error)
            raise PrefectUnavailableError(f"Prefect's server does not answer {request.full_url}: {detail}") from None


def answers(url: str, timeout: float = 10.0) -> bool:
    """Whether a GET of it succeeds."""
    try:
        with urlopen(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (URLError, OSError, ValueError):
        return False
