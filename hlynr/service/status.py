"""`hlynr status`: components, the next retraining and the last ones, the champion, the disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hlynr.config import calendar
from hlynr.config.project import Project
from hlynr.records.service import DiskUse, Load, RetrainingRun, ServiceState, ServiceStatus
from hlynr.records.store_finding import StoreFinding
from hlynr.runtime import environment
from hlynr.runtime.errors import as_user_error
from hlynr.service import prefect_auth
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import DeployedSchedule, FoundRun, PrefectApi, PrefectUnavailableError

if TYPE_CHECKING:
    from hlynr.ops.registry.standing import Standing

RUNS = 5
LOAD_SECONDS = 2.0
"""[s] over which processor time is measured at least: it counts in hundredths."""
_ENDED = "Flow run encountered an exception: "
_FOLDERS = {"DVC cache": ".dvc/cache", "DVC remote": ".dvc/storage", "service": ".hlynr"}


def look(project: Project) -> ServiceStatus:
    """The status; what a component that is down would have to answer stays empty."""
    state = ServicePaths(project.root).running()
    meter = LoadMeter(state.pid) if state else None
    wanted = project.config.schedule
    schedule = _named(wanted.cron, wanted.timezone) if wanted.cron else "none"
    reason, due, runs = "the service is not up; hlynr up starts it", None, []
    if state is not None:
        reason = ", ".join(f"{each.name} is {each.state}" for each in state.components if not each.healthy)
        api = prefect_auth.of_service(project.root, state)
        try:
            deployed = api.schedules()
            schedule = ", ".join(_named(each.cron, each.timezone) for each in deployed) or "none"
            reason = reason or idle(deployed) or ""
            due = _next_due(api, deployed)
            runs = [_retraining(run) for run in api.retrainings(RUNS)]
        except PrefectUnavailableError as error:
            reason = reason or str(error)
    standing, findings, review = _stores(project, state)
    if findings and not reason:
        reason = f"{len(findings)} thing{'s' if len(findings) > 1 else ''} to mend"
    champion = standing.champion if standing else None
    return ServiceStatus(
        healthy=not reason,
        reason=reason or "all services run",
        components=state.components if state else (),
        since=state.since if state else None,
        took=state.took if state else None,
        load=meter.read() if meter else None,
        next_run=due,
        schedule=schedule,
        runs=tuple(runs),
        champion=standing.entry if standing else None,
        champion_version=champion.version if champion else None,
        findings=findings,
        review=review,
        disk=_disk(project),
        disk_free=shutil.disk_usage(project.root).free,
    )


def _named(cron: str | None, timezone: str) -> str:
    return f"{cron or 'a schedule without cron'} ({timezone})"


def idle(deployed: Sequence[DeployedSchedule]) -> str | None:
    """Why no retraining comes due any more; None where one does, or where there is to be no schedule."""
    for each in deployed:
        if each.cron and each.active:
            try:
                calendar.checked_cron(each.cron)
                calendar.checked_timezone(each.timezone)
            except ValueError:
                return f"the schedule {_named(each.cron, each.timezone)} in Prefect never comes due"
    if deployed and not any(each.active for each in deployed):
        return "the schedule is paused in Prefect: resume it in its UI, or set schedule.cron to null"
    return None


def _next_due(api: PrefectApi, deployed: Sequence[DeployedSchedule]) -> datetime | None:
    """When the next retraining is due: Prefect queues runs for a hundred days only."""
    run = api.next_retraining()
    if run:
        return run["expected_start_time"]
    if idle(deployed):
        return None
    return min(
        (calendar.next_due(each.cron, each.timezone) for each in deployed if each.cron and each.active), default=None
    )


def _retraining(run: FoundRun) -> RetrainingRun:
    begin, end = run["start_time"] or run["expected_start_time"], run["end_time"]
    seconds = None
    if run["start_time"] and end:
        seconds = (end - run["start_time"]).total_seconds()
    message = (run["state"]["message"] or "").removeprefix(_ENDED)
    return RetrainingRun(
        id=run["id"], name=run["name"], state=run["state_name"], began=begin, seconds=seconds, verdict=message
    )


def _stores(
    project: Project, state: ServiceState | None
) -> tuple[Standing | None, tuple[StoreFinding, ...], str | None]:
    """The registry as it is, what has to be mended, and the address of the list of retrainings."""
    from hlynr.ops.registry import standing
    from hlynr.ops.repair import repair
    from hlynr.ops.tracking import store, views

    environment.extend({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"})  # the default waits for minutes
    try:
        opened = store.open_existing(project.config, project.root)
        found = None if opened is None else standing.look(opened)
        findings = tuple(repair.look(project, opened))
    except Exception as error:
        if as_user_error(error) is None:
            raise
        return None, (), None  # the state of the component shows that MLflow does not answer
    url = next((each.url for each in state.components if each.name == "mlflow"), None) if state else None
    return found, findings, views.address(url, opened.experiment_id) if opened and url else None


def _disk(project: Project) -> tuple[DiskUse, ...]:
    """The folders that grow."""
    folders = {"runs and models": "mlruns", "newest outputs": project.config.run.outputs, **_FOLDERS}
    return tuple(DiskUse(name=name, path=path, bytes=_size(project.root / path)) for name, path in folders.items())


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue  # deleted meanwhile
    return total


class LoadMeter:
    """Measures memory and processor time of a process and its children, from now until `read`."""

    def __init__(self, pid: int) -> None:
        self._began, self._processes = time.monotonic(), []
        with suppress(psutil.Error):
            self._processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        self._sum(psutil.Process.cpu_percent)  # the first call begins the measurement

    def read(self) -> Load | None:
        """None if the process is gone."""
        time.sleep(max(0.0, LOAD_SECONDS - (time.monotonic() - self._began)))
        if not any(process.is_running() for process in self._processes):
            return None
        memory = self._sum(lambda process: process.memory_full_info().pss)
        return Load(memory=int(memory), cpu=self._sum(psutil.Process.cpu_percent) / 100)

    def _sum(self, measure: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._processes:
            with suppress(psutil.Error):
                total += measure(process)
        return total
