"""How the service is: its parts, the next retraining, the last retrainings, the champion, the disk."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from hlynr.config.project import Project
from hlynr.records.retraining import Promotion
from hlynr.records.service import DiskUse, Load, RetrainingRun, ServiceState, ServiceStatus
from hlynr.runtime.errors import as_user_error
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import PrefectApi, PrefectUnavailableError

RUNS = 5
_ENDED = "Flow run encountered an exception: "


def look(project: Project) -> ServiceStatus:
    """All of it; what cannot be found out because nothing is up stays empty."""
    state = ServicePaths(project.root).running()
    meter = Meter(state.pid) if state else None
    wanted = project.config.schedule
    schedule = f"{wanted.cron} ({wanted.timezone})" if wanted.cron else "none"
    reason, upcoming, runs = _condition(state), None, []
    if state is not None:
        api = PrefectApi(state.prefect_api)
        try:
            schedule, upcoming = api.schedule(), api.next_retraining()
            runs = [_retraining(run) for run in api.retrainings(RUNS)]
        except PrefectUnavailableError as error:
            reason = reason or str(error)
    champion, review = _registry(project, state)
    return ServiceStatus(
        healthy=not reason,
        reason=reason or "everything is well",
        parts=state.parts if state else (),
        since=state.since if state else None,
        took=state.took if state else None,
        load=meter.read() if meter else None,
        next_run=upcoming["expected_start_time"] if upcoming else None,
        schedule=schedule,
        runs=tuple(runs),
        champion=champion,
        review=review,
        disk=_disk(project),
        disk_free=shutil.disk_usage(project.root).free,
    )


def _condition(state: ServiceState | None) -> str:
    """What is wrong; empty for nothing."""
    if state is None:
        return "the service is not up; hlynr up starts it"
    return ", ".join(
        f"{part.name} is {part.state}" for part in state.parts if part.state not in ("healthy", "elsewhere")
    )


def _retraining(run: dict[str, Any]) -> RetrainingRun:
    begin = run["start_time"] or run["expected_start_time"]
    seconds = None
    if run["start_time"] and run["end_time"]:
        seconds = (datetime.fromisoformat(run["end_time"]) - datetime.fromisoformat(begin)).total_seconds()
    message = str((run["state"] or {}).get("message") or "").removeprefix(_ENDED)
    return RetrainingRun(
        id=run["id"], name=run["name"], state=run["state_name"], began=begin, seconds=seconds, verdict=message
    )


def _registry(project: Project, state: ServiceState | None) -> tuple[Promotion | None, str | None]:
    """The decision that made the champion, and the address of the list of retrainings."""
    from hlynr.ops.registry import journal
    from hlynr.ops.tracking import store, views

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # whoever asks how it is does not wait for minutes
    try:
        opened = store.open_existing(project.config, project.root)
        history = [] if opened is None else journal.history(opened)
    except Exception as error:
        if as_user_error(error) is None:
            raise
        return None, None  # that MLflow is away is told as the state of its part
    made = [entry for entry in history if entry.action != "not_promoted"]
    url = next((part.url for part in state.parts if part.name == "mlflow"), None) if state else None
    return made[-1] if made else None, views.address(url, opened.experiment_id) if opened and url else None


def _disk(project: Project) -> tuple[DiskUse, ...]:
    """The folders that grow."""
    folders = {
        "runs and models": Path("mlruns"),
        "newest outputs": Path(project.config.run.outputs),
        "DVC cache": Path(".dvc/cache"),
        "DVC remote": Path(".dvc/storage"),
        "service": Path(".hlynr"),
    }
    return tuple(DiskUse(name=name, path=str(path), bytes=_size(project.root / path)) for name, path in folders.items())


def _size(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue  # it went away meanwhile
    return total


LEAST = 2.0
"""[s] between the two looks at the processor's clock, which counts in hundredths."""


class Meter:
    """Measures from its making to `read`."""

    def __init__(self, pid: int) -> None:
        self._pid, self._began, self._spent = pid, time.monotonic(), self._used(pid)

    def read(self) -> Load | None:
        """None if the process is gone."""
        time.sleep(max(0.0, LEAST - (time.monotonic() - self._began)))
        spent, seconds = self._used(self._pid), time.monotonic() - self._began
        if not spent:
            return None
        cpu = sum(max(used - self._spent.get(pid, used), 0.0) for pid, used in spent.items()) / seconds
        return Load(memory=sum(map(_memory, spent)), cpu=cpu)

    def _used(self, pid: int) -> dict[int, float]:
        """Processor time of each process [s]."""
        return {each.pid: _processor_time(each) for each in _tree(pid)}


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _processor_time(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.Error:
        return 0
