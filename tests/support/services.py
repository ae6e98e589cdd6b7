"""A project whose service is up, with real servers and a real worker, and what the tests do to them."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from hlynr.config.project import Project
from hlynr.records.service import ComponentStatus, ServiceState, ServiceStatus
from hlynr.service import prefect_auth
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import PrefectApi
from support import projects

ENDLESS = (
    "train.timesteps=50000000",
    "monitor.interval=16384",
    "train.checkpoint_interval=8192",
    "monitor.stop_on=[nan]",
    "versioning.enabled=false",
    "retrain.plan=[default]",
)
SHORT = ("train.timesteps=16384", "monitor.interval=4096")
faults = pytest.mark.skipif(
    not os.environ.get("HLYNR_TEST_FAULTS"), reason="set HLYNR_TEST_FAULTS=1 for the fault tests, which take minutes"
)
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
CHECKPOINT = "outputs/train/checkpoints/latest.pt"


def free_ports() -> tuple[str, ...]:
    """Overrides with two ports of 127.0.0.1 that are free at this moment."""
    with socket.socket() as first, socket.socket() as second:
        for probe in (first, second):
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in (first, second)]
    return (f"service.prefect_port={ports[0]}", f"service.mlflow_port={ports[1]}")


@dataclass
class Receiver:
    """An HTTP server that keeps what is posted to it, as a chat service would."""

    url: str
    alerts: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [204])
    """What it answers with, one after another, the last one for ever."""

    def kinds(self, run: str) -> list[str]:
        """Of the alerts about one flow run."""
        return [alert["kind"] for alert in self.alerts if alert["flow_run"] == run]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A running receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.statuses.pop(0) if len(found.statuses) > 1 else found.statuses[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(f"http://127.0.0.1:{server.server_port}/secret-path")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@dataclass(frozen=True)
class Service:
    """A project in which `hlynr up` has been called."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return Project(self.root, projects.config(self.root))

    @property
    def state(self) -> ServiceState:
        found = ServicePaths(self.root).running()
        assert found is not None, "the service is not up: " + self.log("service")
        return found

    @property
    def api(self) -> PrefectApi:
        return prefect_auth.of_service(self.root, self.state)

    def up(self, *options: str) -> str:
        """Detached; returns what it says."""
        done = projects.run(self.root, "hlynr", "up", "--detach", *options, **self.environment)
        assert done.returncode == 0, done.stderr + self.log("service") + self.log("worker")
        return done.stdout + done.stderr

    def down(self) -> None:
        """Stop it."""
        done = projects.run(self.root, "hlynr", "down", **self.environment)
        assert done.returncode == 0, done.stderr

    def status(self) -> ServiceStatus:
        done = projects.run(self.root, "hlynr", "status", "--json", "-", **self.environment)
        return ServiceStatus.model_validate_json(done.stdout)

    def log(self, name: str) -> str:
        file = ServicePaths(self.root).log(name)
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def component(self, name: str) -> ComponentStatus:
        return next(each for each in self.state.components if each.name == name)

    def process(self, name: str) -> psutil.Process:
        """The process of a component, below its guard."""
        (child,) = psutil.Process(self.component(name).pid).children()
        return child

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What Prefect's server answers."""
        request = Request(f"{self.api.url}{path}", json.dumps(body).encode(), self.api.headers)
        for attempt in range(10):
            try:
                with urlopen(request, timeout=60) as response:
                    return json.loads(response.read() or b"null")
            except HTTPError as error:
                if error.code != 503 or attempt == 9:  # its database is locked; Prefect's client repeats that, too
                    raise
            time.sleep(1.0)

    def get(self, path: str) -> Any:
        with urlopen(Request(f"{self.api.url}{path}", headers=self.api.headers), timeout=60) as response:
            return json.loads(response.read())

    def begin(self, *overrides: str) -> str:
        """Put a run of the nightly deployment into the queue; returns its id."""
        deployment = self.get("/deployments/name/retrain/nightly")
        body: dict[str, Any] = {"parameters": {"overrides": list(overrides)}}
        return str(self.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"])

    def due(self, deployment: str, when: datetime, *overrides: str) -> str:
        """A run that the schedule created for that time, as a server that was off meanwhile finds it."""
        flow = self.get(f"/deployments/{deployment}")
        body = {
            "flow_id": flow["flow_id"],
            "deployment_id": deployment,
            "parameters": flow["parameters"] | {"overrides": list(overrides)},
            "work_pool_name": flow["work_pool_name"],
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}},
        }
        run = str(self.post("/flow_runs/", body)["id"])
        with closing(sqlite3.connect(self.root / ".hlynr/prefect/prefect.db", timeout=60)) as database, database:
            # The API cannot set it; the server does when its scheduler creates a run.
            database.execute("update flow_run set auto_scheduled = 1 where id = ?", (run,))
        return run

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/flow_runs/{run_id}")
        return found

    def retrainings(self) -> dict[str, str]:
        """State by id of the runs of the nightly flow that have begun, the oldest first."""
        found = self.api.retrainings(20)
        return {run["id"]: run["state_name"] for run in reversed(found)}

    def cancel(self, run_id: str) -> None:
        """As the button in the UI does."""
        self.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})

    def ended(self, run_id: str, patience: float = 180.0) -> dict[str, Any]:
        """The run, once it has ended."""
        projects.until(lambda: self.run(run_id)["state_type"] in ENDED, f"the end of run {run_id}", patience)
        return self.run(run_id)

    def training(self, run_id: str) -> tuple[psutil.Process, psutil.Process]:
        """The processes of a run's flow and of its training, once that has written a checkpoint."""
        checkpoint, begun = self.root / CHECKPOINT, time.time()

        def trains() -> bool:
            assert self.run(run_id)["state_type"] not in ENDED, self.log("worker")
            return checkpoint.exists() and checkpoint.stat().st_mtime > begun

        projects.until(trains, "a checkpoint", 180.0)
        flow = psutil.Process(int(self.run(run_id)["infrastructure_pid"]))
        (training,) = [each for each in flow.children() if "hlynr.pipeline.training_process" in each.cmdline()]
        return flow, training

    def slot_taken(self) -> int:
        """How many runs hold the GPU slot."""
        return int(self.get("/v2/concurrency_limits/hlynr-gpu")["active_slots"])


@contextmanager
def running(root: Path, *overrides: str, **environment: str) -> Iterator[Service]:
    """A new project with its service up; stopped afterwards, and any process that remains is killed."""
    projects.make(root, *projects.EASY_GATE, *free_ports(), *overrides)
    service = Service(root, environment)
    try:
        service.up()
        yield service
    finally:
        projects.run(root, "hlynr", "down", **environment)
        for process in remaining(root):
            process.kill()


def remaining(root: Path) -> list[psutil.Process]:
    """Processes that belong to the project: they name it, or have it as their working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            named = any(str(root) in part for part in process.cmdline()) or process.cwd() == str(root)
        except psutil.Error:
            continue
        if named and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def gone(*processes: psutil.Process) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def status_of(url: str, method: str = "GET", **headers: str) -> int:
    """The HTTP status of a request."""
    try:
        with urlopen(Request(url, headers=headers, method=method), timeout=30) as response:
            return int(response.status)
    except HTTPError as error:
        with error:
            return error.code
