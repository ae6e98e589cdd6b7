"""The few requests of the service to a Prefect server, over plain HTTP.

Prefect's own client takes seconds and 100 MB to import, too much for a supervisor.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NotRequired, TypeVar
from urllib.parse import quote

from pydantic import AwareDatetime, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes that of typing only from Python 3.12 on

from hlynr.runtime import http_request
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service.prefect_private import WORKER_LABEL

TIMEOUT = 20.0
"""[s] for the whole answer of a server that may be under load."""
FLOW = "retrain"
"""The nightly flow's name."""
NIGHTLY = "nightly"
"""Its deployment's name."""
NO_HEARTBEAT = "No sign of life for"
"""How the message of a run begins that the heartbeat automation has ended."""
URL = "PREFECT_API_URL"
AUTH = "PREFECT_API_AUTH_STRING"
"""The variables in which Prefect's clients look for a server's address and authentication string."""
REJECTIONS = {
    401: "it rejects PREFECT_API_AUTH_STRING, which must be as in .hlynr/prefect-auth-string on the server's machine",
    403: "it rejects this address; service.allowed_hosts on the server's machine must name it",
}

T = TypeVar("T")


class RunState(TypedDict):
    """The newest state of a flow run."""

    timestamp: AwareDatetime
    message: str | None


class FoundRun(TypedDict):
    """A flow run as the API returns it, as far as it is used."""

    id: str
    name: str
    state: RunState
    state_name: str
    infrastructure_pid: NotRequired[str | None]
    labels: NotRequired[dict[str, Any] | None]
    start_time: AwareDatetime | None
    expected_start_time: AwareDatetime | None
    end_time: AwareDatetime | None


class _Worker(TypedDict):
    name: str
    status: str


class _When(TypedDict):
    cron: NotRequired[str | None]
    timezone: NotRequired[str | None]


class _Schedule(TypedDict):
    schedule: _When
    active: bool


class _Deployment(TypedDict):
    schedules: list[_Schedule]
    paused: bool


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
    auth_string: str | None = field(default=None, repr=False)

    @classmethod
    def elsewhere(cls) -> PrefectApi | None:
        """The server that the user's environment names; None if it names none."""
        url = os.environ.get(URL)
        return cls(url, os.environ.get(AUTH)) if url else None

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that uses the server through Prefect's own client."""
        return {URL: self.url} | ({AUTH: self.auth_string} if self.auth_string else {})

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        asked = {"Authorization": f"Basic {b64encode(self.auth_string.encode()).decode()}"} if self.auth_string else {}
        return {"Content-Type": "application/json", **asked}

    def healthy(self) -> bool:
        """Whether it answers at all."""
        return answers(f"{self.url}/health", b"true")

    def worker_online(self, pool: str, name: str) -> bool:
        """Whether the server has a recent heartbeat of the worker."""
        try:
            found = self._ask(list[_Worker], f"/work_pools/{quote(pool)}/workers/filter", {})
        except PrefectUnavailableError:
            return False
        return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in found)

    def unfinished(self, worker: str) -> list[FoundRun]:
        """Runs of the worker that have not ended as far as the server knows."""
        found = self._runs(200, state={"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}})
        return [run for run in found if (run.get("labels") or {}).get(WORKER_LABEL) == worker]

    def crashed(self, since: datetime) -> list[FoundRun]:
        """Runs that have crashed since then."""
        return self._runs(200, state={"type": {"any_": ["CRASHED"]}}, end_time={"after_": since.isoformat()})

    def retrainings(self, limit: int) -> list[FoundRun]:
        """The newest runs of the nightly flow that have begun or ended, the newest first."""
        return self._runs(limit, "EXPECTED_START_TIME_DESC", FLOW, state={"type": {"not_any_": ["SCHEDULED"]}})

    def next_retraining(self) -> FoundRun | None:
        """The run that is due next; None if none is scheduled."""
        found = self._runs(1, "EXPECTED_START_TIME_ASC", FLOW, state={"type": {"any_": ["SCHEDULED"]}})
        return next(iter(found), None)

    def schedules(self) -> list[DeployedSchedule]:
        """The schedules of the nightly deployment, which people may have changed in Prefect's UI."""
        found = self._ask(_Deployment, f"/deployments/name/{FLOW}/{NIGHTLY}")
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
        self._ask(dict, f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    def _runs(
        self, limit: int, sort: str = "START_TIME_DESC", flow: str | None = None, **chosen: Any
    ) -> list[FoundRun]:
        flows = {"name": {"any_": [flow]}} if flow else None
        asked = {"flow_runs": chosen, "flows": flows, "sort": sort, "limit": limit}
        return self._ask(list[FoundRun], "/flow_runs/filter", asked)

    def _ask(self, kind: type[T], path: str, body: dict[str, Any] | None = None) -> T:
        """The answer to a GET, or to a POST of the body, which must be of this kind."""
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        url = f"{self.url}{path}"
        try:
            answer = http_request.send(method, url, TIMEOUT, body=data, headers=self.headers)
        except http_request.NoAnswerError as error:
            raise PrefectUnavailableError(f"Prefect's server does not answer {url}: {error}") from None
        if answer.status in REJECTIONS:
            raise PrefectUnavailableError(f"{self.url}: {REJECTIONS[answer.status]}")
        if not 200 <= answer.status < 300:
            raise PrefectUnavailableError(f"Prefect's server answers {url} with {answer.status}")
        try:
            return TypeAdapter(kind).validate_json(answer.body)
        except ValidationError:
            raise PrefectUnavailableError(f"{url} answers, but not as Prefect's server does") from None


def answers(url: str, expected: bytes, deadline: float = 10.0) -> bool:
    """Whether a GET of it returns these bytes; a login page, say, is another answer."""
    try:
        answer = http_request.send("GET", url, deadline)
    except http_request.NoAnswerError:
        return False
    return answer.status == 200 and answer.body.strip() == expected
