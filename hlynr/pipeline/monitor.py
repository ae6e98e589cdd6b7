"""Watching a training from another process: where its status is, and whether its process still runs."""

from __future__ import annotations

import json
import math
import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hlynr.config.project import Project
from hlynr.config.sections import Monitor
from hlynr.ops.tracking import recorded as tracking_recorded
from hlynr.ops.tracking import store
from hlynr.records.guarded_file import DamagedFileError
from hlynr.records.training import STATUS, MonitorVerdict, TrainingState, TrainingStatus, TrainProgress
from hlynr.rl.monitor import WEIGHT, judge, not_a_number
from hlynr.runtime import processes
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    from hlynr.report.training import Look

STATES: dict[str, TrainingState] = {"FINISHED": "finished", "KILLED": "interrupted", "FAILED": "failed"}
"""By MLflow's status of a run; any other one is running."""
SILENCE = 10.0
"""[s] without an update after which the process of the training is looked for."""


def look(project: Project, run: str | None) -> TrainingStatus:
    """The present status of a training.

    Args:
        run: a training's folder, or what `hlynr.ops.tracking.recorded.find` takes; by default the newest training.

    Raises:
        InputError: if there is no such training, or its status is invalid.
    """
    return _first(project, run, _source(project, run))


def follow(project: Project, run: str | None) -> None:
    """Show a training until it ends or Ctrl-C.

    Raises:
        InputError: as `look`.
    """
    from hlynr.report import training

    source = _source(project, run)
    _first(project, run, source)
    training.follow(source, project.config.gate.baseline)


def _source(project: Project, run: str | None) -> Look:
    if run is None:
        return lambda: max(_statuses_in(project), key=lambda status: status.updated, default=None)
    if Path(run).is_dir():
        return lambda: _read(Path(run))
    return _recorded(project, run)


def _first(project: Project, run: str | None, source: Look) -> TrainingStatus:
    status = source()
    if status is not None:
        return status
    if run is None:
        raise InputError(f"{project.train / STATUS}: is missing; no training has begun in this project")
    raise InputError(f"RUN: {run}: holds no {STATUS}, which every training writes into its folder")


def _statuses_in(project: Project, *others: Path) -> list[TrainingStatus]:
    folders = [*others, project.train, *project.attempts.glob("*")]
    return [status for folder in folders if (status := _read(folder))]


def _read(folder: Path) -> TrainingStatus | None:
    """The status in a training's folder; None if there is none.

    Raises:
        InputError: if it is damaged, or of another version.
    """
    path = folder / STATUS
    try:
        status = TrainingStatus.read(path)
        return status.model_copy(update={"state": "lost"}) if _lost(status) else status
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, DamagedFileError) as error:
        reason = str(error) if isinstance(error, DamagedFileError) else f"{path}: cannot be read: {error.strerror}"
        raise InputError(reason) from None


def _lost(status: TrainingStatus) -> bool:
    """Whether the training's process on this machine is gone."""
    silent = (datetime.now(UTC) - status.updated).total_seconds() > SILENCE
    if status.state != "running" or not silent or status.process is None or status.machine != platform.node():
        return False
    return not processes.is_running(status.process, status.updated.timestamp() + SILENCE)


def _recorded(project: Project, run: str) -> Look:
    """A run of the project's store; its folder, if it still exists, is newer and has more figures."""
    opened = store.open_existing(project.config, project.root)
    if opened is None:
        raise InputError(f"RUN: {run}: is no folder, and there is no MLflow run yet; hlynr train makes one")
    run_id = tracking_recorded.find(opened, run)
    trained_in = tracking_recorded.folder(opened, run_id)

    def source() -> TrainingStatus:
        with suppress(InputError, OSError):
            for status in _statuses_in(project, *([trained_in] if trained_in else [])):
                if status.lineage.mlflow_run_id == run_id:
                    return status
        return _rebuilt(opened, run_id, project.config.monitor)

    return source


def _rebuilt(opened: store.Store, run_id: str, fallback: Monitor) -> TrainingStatus:
    """A training's status from what its run logged, judged under the run's own settings."""
    try:
        recorded = tracking_recorded.read(opened, run_id)
        settings, verdict = _judged(recorded, fallback)
        train, run = recorded.section("train"), recorded.section("run")
        return TrainingStatus(
            lineage=recorded.lineage,
            strategy=recorded.lineage.strategy,
            algorithm=train["algorithm"],
            scenario=train["scenario"],
            seed=train["seed"] + run["retraining"],
            state=STATES.get(recorded.status, "running"),
            updated=recorded.newest,
            seconds=(recorded.newest - recorded.started).total_seconds(),
            progress=_progress(recorded, train),
            window=settings.window,
            verdict=verdict,
            evaluations=recorded.points,
        )
    except (ValueError, KeyError):
        raise InputError(f"RUN: {run_id}: is not the run of a training of this version") from None


def _judged(recorded: tracking_recorded.RecordedTraining, fallback: Monitor) -> tuple[Monitor, MonitorVerdict]:
    """The run's own settings, or the present ones where those are of another version, and the verdict."""
    try:
        settings = Monitor.model_validate_json(json.dumps(recorded.section("monitor")))
    except ValidationError:
        settings = fallback
    if recorded.poisoned_at is not None:
        return settings, not_a_number(recorded.points, settings, recorded.poisoned_at, WEIGHT)
    verdict = judge(recorded.points, settings)
    spent = verdict.at_timesteps >= recorded.section("train")["timesteps"]
    if spent or recorded.status == "KILLED":
        verdict = verdict.model_copy(update={"stopped": False})
    return settings, verdict


def _progress(recorded: tracking_recorded.RecordedTraining, train: dict[str, Any]) -> TrainProgress:
    newest = recorded.points[-1] if recorded.points else None
    remaining, rate = max(train["timesteps"] - recorded.timesteps, 0), recorded.timesteps_per_second
    return TrainProgress(
        device=recorded.device or train["device"],
        timesteps=recorded.timesteps,
        budget=train["timesteps"],
        success_rate=newest.success_rate if newest else None,
        best_success=max((point.success_rate for point in recorded.points), default=None),
        mean_reward=newest.mean_reward if newest else None,
        timesteps_per_second=rate,
        eta_seconds=0.0 if recorded.status in STATES else remaining / rate if rate > 0 else math.inf,
    )
