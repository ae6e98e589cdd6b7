"""The process behind `hlynr up`: starts the parts, keeps them going, ends runs that nobody runs any more.

It imports neither Prefect nor MLflow: it is there all day, and what it looks after is heavy enough.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from hlynr.config.project import Project
from hlynr.records.service import ServiceState
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.processes import last_line
from hlynr.service import components
from hlynr.service.lost_runs import CrashedRuns, LostRuns
from hlynr.service.paths import ServicePaths
from hlynr.service.process import SupervisedProcess

TICK = 0.5
SWEEP = 10.0
"""[s] between two looks for runs whose process is gone."""
START_TIMEOUT = 180.0
"""[s] for all parts to be well at first."""
FLOW_GRACE = 60.0
"""[s] for a retraining that is under way to come to its checkpoint when the service is stopped."""
FAILED_STARTS = 3

Tell = Callable[[str], None]


def run(project: Project, params_file: str, worker: tuple[str, ...], tell: Tell) -> None:
    """Be the service until somebody stops it.

    Args:
        worker: the command of the worker, to which its name, the project and the params file are added.

    Raises:
        AlreadyUpError: if it is up.
        EnvironmentNotReady: if a port is taken, or a part does not come up.
    """
    place = ServicePaths(project.root)
    with place.held():
        plan = components.plan(project, params_file, worker)
        components.require_ports(plan.parts, project)
        _prepare_store(project)
        service = _Service(place, plan, tell, LostRuns(project, plan.api, plan.worker), CrashedRuns(project, plan.api))
        with _stopped_by_signals(service):
            try:
                service.serve()
            finally:
                service.stop()


class _Service:
    def __init__(
        self, place: ServicePaths, plan: components.Components, tell: Tell, orphans: LostRuns, silenced: CrashedRuns
    ) -> None:
        self.stopping = False
        self._place, self._plan, self._tell, self._orphans, self._silenced = place, plan, tell, orphans, silenced
        self._keepers = {part.name: SupervisedProcess(part, place.root, place.log(part.name)) for part in plan.parts}
        self._since = datetime.now(UTC)
        self._born = psutil.Process().create_time()
        self._took: float | None = None
        self._written: ServiceState | None = None
        self._swept = 0.0

    def serve(self) -> None:
        began = time.monotonic()
        while not self.stopping:
            self._start_what_can()
            for keeper in self._keepers.values():
                if line := keeper.tend():
                    self._say(line)
            if self._took is not None:
                self._sweep()
            elif all(keeper.well for keeper in self._keepers.values()):
                self._took = time.monotonic() - began
                where = ", ".join(f"{part.name} on {part.url}" for part in self._plan.parts if part.url)
                self._say(f"up after {self._took:.0f} s: {where}")
            else:
                self._require_progress(began + START_TIMEOUT)
            self._write()
            time.sleep(TICK)

    def stop(self) -> None:
        """The worker first, so that the server still hears how its runs ended."""
        self._say("stopping")
        worker = self._keepers["worker"]
        running = self._orphans.processes()
        worker.stop()
        _wait_for(running)
        for name in reversed(self._keepers):
            self._keepers[name].stop()
        self._place.state_file.unlink(missing_ok=True)
        self._say("stopped")

    def _start_what_can(self) -> None:
        for keeper in self._keepers.values():
            first = keeper.part.after
            if keeper.status.pid is None and (first is None or self._keepers[first].well):
                keeper.start()

    def _require_progress(self, deadline: float) -> None:
        for name, keeper in self._keepers.items():
            if keeper.restarts >= FAILED_STARTS:
                raise EnvironmentNotReady(f"{name} does not start: {keeper.last_words()}")
        if time.monotonic() > deadline:
            waiting = ", ".join(name for name, keeper in self._keepers.items() if not keeper.well)
            raise EnvironmentNotReady(f"{waiting}: not well after {START_TIMEOUT:g} s, see {self._place.folder}")

    def _sweep(self) -> None:
        now = time.monotonic()
        if now - self._swept < SWEEP:
            return
        self._swept = now
        has_server = self._keepers["prefect"].part.command is not None  # elsewhere, the service there tells
        for line in [*self._orphans.sweep(), *(self._silenced.look() if has_server else ())]:
            self._say(line)

    def _write(self) -> None:
        state = ServiceState(
            pid=os.getpid(),
            born=self._born,
            since=self._since,
            prefect_api=self._plan.api.url,
            took=self._took,
            parts=tuple(keeper.status for keeper in self._keepers.values()),
        )
        if state != self._written:
            with suppress(OSError):  # a full disk must not end the service
                state.write(self._place.state_file)
                self._written = state

    def _say(self, line: str) -> None:
        self._tell(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}")


@contextmanager
def _stopped_by_signals(service: _Service) -> Iterator[None]:
    def ask(*_: object) -> None:
        service.stopping = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepare_store(project: Project) -> None:
    """Make MLflow's database once, before its server and a retraining race for it; in a process that is gone afterwards."""
    if project.config.tracking.uri.startswith(("http://", "https://")):
        return
    script = "import sys; from hlynr.service.supervisor import make_store; make_store(sys.stdin.read())"
    request = project.config.model_dump_json()
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=project.root,
        input=request,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise EnvironmentNotReady(last_line(done.stderr) or "MLflow's store cannot be made")


def make_store(config: str) -> None:
    """In the working directory, under a configuration as JSON."""
    from hlynr.config.config import Config
    from hlynr.ops.tracking import store
    from hlynr.runtime.errors import as_user_error

    try:
        store.open_store(Config.model_validate_json(config), Path.cwd())
    except Exception as error:
        told = as_user_error(error)
        if told is None:
            raise
        sys.exit(" ".join(str(told).split()))


def _wait_for(running: list[psutil.Process]) -> None:
    """Until the runs' processes have come to their end, with patience."""
    _, alive = psutil.wait_procs(running, timeout=FLOW_GRACE)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
