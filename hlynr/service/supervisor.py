"""The process behind `hlynr up`: starts the components, restarts those that end, reports runs that were lost.

It imports neither Prefect nor MLflow, which are too heavy for a process that runs all day.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import psutil

from hlynr.config.project import Project
from hlynr.records.service import ServiceState
from hlynr.runtime import logs
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service import components
from hlynr.service.lost_runs import LostRuns
from hlynr.service.paths import ServicePaths
from hlynr.service.process import SupervisedProcess

POLL = 0.5
LOST_RUNS_INTERVAL = 10.0
"""[s] between two checks for lost runs."""
START_TIMEOUT = 180.0
"""[s] from the start until all components are healthy."""
RUN_GRACE = 60.0
"""[s] for a retraining to write its checkpoint when the service is stopped."""
FAILED_STARTS = 3


def run(project: Project, params_file: str, worker: tuple[str, ...], log: Callable[[str], None]) -> None:
    """Be the service until SIGINT or SIGTERM.

    Args:
        worker: see `components.plan`.

    Raises:
        hlynr.runtime.locks.BusyError: if it is up.
        EnvironmentNotReady: if a port is taken, or a component does not start.
    """
    paths = ServicePaths(project.root)
    with paths.held():
        planned = components.plan(project, params_file, worker)
        components.require_ports(planned, project.config.service.host)
        lost_runs = LostRuns(project, planned.api, planned.worker, own_server=planned.all[0].command is not None)
        supervisor = _Supervisor(paths, planned, lost_runs, log)
        hangup = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else set()  # nohup
        for number in {signal.SIGINT, signal.SIGTERM} | hangup:
            signal.signal(number, lambda *_: supervisor.ask_to_stop())
        try:
            supervisor.serve()
        finally:
            supervisor.stop()


class _Supervisor:
    def __init__(
        self, paths: ServicePaths, planned: components.Components, lost_runs: LostRuns, log: Callable[[str], None]
    ) -> None:
        self._stopping = False
        self._paths, self._planned, self._lost_runs, self._log = paths, planned, lost_runs, log
        self._processes = {each.name: SupervisedProcess(each, paths.root, paths.log(each.name)) for each in planned.all}
        self._since = datetime.now(UTC)
        self._born, self._command = psutil.Process().create_time(), tuple(psutil.Process().cmdline())
        self._took: float | None = None
        self._written: ServiceState | None = None
        self._next_lost_runs = 0.0

    def ask_to_stop(self) -> None:
        self._stopping = True

    def serve(self) -> None:
        began = time.monotonic()
        while not self._stopping:
            for process in self._processes.values():
                after = process.component.after
                if process.pid is None and (after is None or self._processes[after].healthy):
                    process.start()
                if line := process.poll():
                    self._say(line)
            if self._took is not None:
                self._check_lost_runs()
            elif all(process.healthy for process in self._processes.values()):
                self._took = time.monotonic() - began
                addresses = ", ".join(f"{each.name} on {each.url}" for each in self._planned.all if each.url)
                self._say(f"up after {self._took:.0f} s: {addresses}")
            else:
                self._require_progress(began + START_TIMEOUT)
            self._write()
            time.sleep(POLL)

    def stop(self) -> None:
        """Stop the worker first, so that the server still receives how its runs ended."""
        self._say("stopping")
        running = self._lost_runs.processes()
        self._processes.pop("worker").stop()
        _, alive = psutil.wait_procs(running, timeout=RUN_GRACE)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        for each in reversed(self._processes.values()):
            each.stop()
        self._paths.state_file.unlink(missing_ok=True)
        self._say("stopped")

    def _require_progress(self, deadline: float) -> None:
        for name, process in self._processes.items():
            if process.restarts >= FAILED_STARTS:
                raise EnvironmentNotReady(f"{name} does not start: {process.last_log_line()}")
        if time.monotonic() > deadline:
            waiting = ", ".join(name for name, process in self._processes.items() if not process.healthy)
            raise EnvironmentNotReady(f"{waiting}: not healthy after {START_TIMEOUT:g} s, see {self._paths.folder}")

    def _check_lost_runs(self) -> None:
        if time.monotonic() >= self._next_lost_runs:
            self._next_lost_runs = time.monotonic() + LOST_RUNS_INTERVAL
            logs.cut(self._paths.log("service"))
            for line in self._lost_runs.check():
                self._say(line)

    def _write(self) -> None:
        state = ServiceState(
            pid=os.getpid(),
            born=self._born,
            command=self._command,
            since=self._since,
            prefect_api=self._planned.api.url,
            took=self._took,
            components=tuple(process.status for process in self._processes.values()),
        )
        if state != self._written:
            with suppress(OSError):  # a full disk must not end the service
                state.write(self._paths.state_file)
                self._written = state

    def _say(self, line: str) -> None:
        self._log(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}")
