"""Trainings read from the store: the run of an id, with its metrics and parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlynr.config import former_names
from hlynr.ops.tracking.runs import DEVICE_TAG, FOLDER_TAG, LINEAGE_TAG, PARENT_TAG, RETRAINING_TAG
from hlynr.ops.tracking.store import Store
from hlynr.records.training import SIGNS, EvaluationPoint, Lineage
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    from mlflow.entities import Run

SUCCESS = "eval/success_rate"
FIGURES = {
    "success_rate": SUCCESS,
    "mean_reward": "eval/mean_reward",
    "mean_final_distance": "eval/mean_final_distance",
    **{name: f"monitor/{name}" for name in SIGNS},
}
"""Metrics by the field of an `EvaluationPoint` that they hold."""
SPEED = "time/sps"
POISONED = "monitor/finite_weights"
"""Logged only where the weights are not finite."""

_RUN_ID = re.compile(r"[0-9a-f]{6,32}")
_LINEAGE_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}(-\d+)?")


@dataclass(frozen=True)
class RecordedTraining:
    """A training as logged in its run."""

    lineage: Lineage
    settings: Mapping[str, Any]
    """The logged parameters by their dotted names."""
    status: str
    """MLflow's: RUNNING, FINISHED, FAILED, KILLED."""
    device: str | None
    points: tuple[EvaluationPoint, ...]
    poisoned_at: int | None
    """Timesteps at which a weight was not finite."""
    timesteps: int
    timesteps_per_second: float
    started: datetime
    newest: datetime
    """When the newest figure was logged."""

    def section(self, name: str) -> dict[str, Any]:
        """One flat section of the parameters."""
        head = f"{name}."
        return {key.removeprefix(head): value for key, value in self.settings.items() if key.startswith(head)}


def find(store: Store, wanted: str) -> str:
    """The id of the training run that ``wanted`` identifies; for a retraining's run, its newest attempt.

    Args:
        wanted: an id, the beginning of one with at least six characters, or a lineage's id.

    Raises:
        InputError: if there is none, or more than one.
    """
    if _LINEAGE_ID.fullmatch(wanted):
        found = _search(store, f"tags.`{LINEAGE_TAG}` = '{wanted}'")[:1]
    elif _RUN_ID.fullmatch(wanted):
        found = _search(store, f"attributes.run_id LIKE '{wanted}%'")
    else:
        raise InputError(
            f"RUN: {wanted}: is no folder, no lineage's id, and no MLflow run's id or the first six or more of its "
            "characters"
        )
    if not found:
        raise InputError(f"RUN: {wanted}: is no run of the MLflow experiment that this project trains in")
    if len(found) > 1:
        raise InputError(f"RUN: {wanted}: begins the ids of {len(found)} runs: {', '.join(map(_id, found[:5]))}")
    if RETRAINING_TAG in found[0].data.tags:
        found = _search(store, f"tags.`{PARENT_TAG}` = '{_id(found[0])}'")
        if not found:
            raise InputError(f"RUN: {wanted}: is a retraining in which no training has begun yet")
    return _id(found[0])


def folder(store: Store, run_id: str) -> Path | None:
    """Where a run was trained; it may be on another machine, or hold another training by now."""
    found = store.client.get_run(run_id).data.tags.get(FOLDER_TAG)
    return None if found is None else Path(found)


def read(store: Store, run_id: str) -> RecordedTraining:
    """Read a run, which may still be going on.

    Raises:
        ValueError: if it is no training's run.
    """
    run = store.client.get_run(run_id)
    histories = {
        metric: store.client.get_metric_history(run_id, metric)
        for metric in (*FIGURES.values(), SPEED, POISONED)
        if metric in run.data.metrics
    }
    logged = [entry for history in histories.values() for entry in history]
    logged_params = sorted(run.data.params.items(), key=lambda item: _present(item[0]) == item[0])
    settings = {_present(key): _parsed(value) for key, value in logged_params}
    started = int(run.info.start_time)
    speeds = histories.get(SPEED, [])
    return RecordedTraining(
        lineage=_lineage(run),
        settings=settings,
        status=str(run.info.status),
        device=run.data.tags.get(DEVICE_TAG),
        points=_points(histories, int(settings.get("monitor.episodes", 0))),
        poisoned_at=max((entry.step for entry in histories.get(POISONED, [])), default=None),
        timesteps=max((entry.step for entry in logged), default=0),
        timesteps_per_second=max(speeds, key=lambda entry: (entry.step, entry.timestamp)).value if speeds else 0.0,
        started=_time(started),
        newest=_time(max((entry.timestamp for entry in logged), default=started)),
    )


def _search(store: Store, condition: str) -> list[Run]:
    """Newest first."""
    return list(store.client.search_runs([store.experiment_id], condition, order_by=["start_time DESC"]))


def _id(run: Run) -> str:
    return str(run.info.run_id)


def _points(histories: Mapping[str, list[Any]], episodes: int) -> tuple[EvaluationPoint, ...]:
    """Of an evaluation that a resumed training repeated, the last."""
    found: dict[int, dict[str, float]] = {}
    for field, metric in FIGURES.items():
        for entry in sorted(histories.get(metric, []), key=lambda entry: entry.timestamp):
            found.setdefault(entry.step, {})[field] = entry.value
    return tuple(
        EvaluationPoint.model_validate({"timesteps": step, "episodes": episodes, **fields})
        for step, fields in sorted(found.items())
        if {"success_rate", "mean_reward", "mean_final_distance"} <= fields.keys()
    )


def _lineage(run: Run) -> Lineage:
    head = LINEAGE_TAG.removesuffix("id")
    fields = {name: run.data.tags.get(f"{head}{name}") for name in Lineage.model_fields}
    known = {name: value for name, value in fields.items() if value is not None}
    return Lineage.model_validate(known | {"mlflow_run_id": _id(run)})


def _present(key: str) -> str:
    return ".".join(former_names.present(key.split(".")))


def _parsed(value: str) -> Any:
    """Strings are logged bare, everything else as JSON."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
