"""Recorded trainings: the run that is meant is found, and its evaluations come back as they were logged."""

from __future__ import annotations

from typing import Any

import pytest
from mlflow.entities import Metric
from support import statuses, stores

from hlynr.ops.tracking import recorded as tracking_recorded
from hlynr.ops.tracking.runs import set_device, start_retraining, start_run
from hlynr.ops.tracking.store import Store
from hlynr.records.training import EvaluationPoint
from hlynr.runtime.errors import InputError

POINTS = statuses.points((0.1, 0.4, 0.7))


def log(store: Store, run_id: str, point: EvaluationPoint, timestamp: int) -> None:
    """An evaluation as a training logs it."""
    fields = point.model_dump(exclude={"timesteps", "episodes"}, exclude_none=True)
    metrics = [
        Metric(tracking_recorded.FIGURES[name], value, timestamp, point.timesteps) for name, value in fields.items()
    ]
    metrics.append(Metric(tracking_recorded.SPEED, 20_000.0 + point.timesteps, timestamp, point.timesteps))
    store.client.log_batch(run_id, metrics=metrics)


@pytest.fixture
def run_id(store: Store, tmp_path: Any) -> str:
    """A run with three evaluations, a minute apart."""
    run = start_run(store, stores.lineage(), stores.config("train.seed=7", "monitor.window=5"))
    set_device(store, run, "cpu", tmp_path)
    started = store.client.get_run(run).info.start_time
    for number, point in enumerate(POINTS, 1):
        log(store, run, point, started + 60_000 * number)
    return run


def test_a_run_is_found_by_its_beginning_and_by_its_lineage(store: Store, run_id: str) -> None:
    for wanted in (run_id, run_id[:6], run_id[:13], stores.lineage().id):
        assert tracking_recorded.find(store, wanted) == run_id


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("abcde", "is no folder, no lineage's id, and no MLflow run's id or the first six or more of its characters"),
        ("outputs/trian", "is no folder"),
        ("x' OR '1' = '1", "is no folder"),
        ("0123456789abcdef", "is no run of the MLflow experiment"),
        ("20200101-000000-abcdef", "is no run of the MLflow experiment"),
    ],
)
def test_what_identifies_no_run_is_an_error(store: Store, run_id: str, wanted: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        tracking_recorded.find(store, wanted)
    assert str(error.value).startswith(f"RUN: {wanted}: ")
    assert "\n" not in str(error.value)


def test_a_beginning_that_two_runs_share_is_rejected(
    store: Store, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start_run(store, stores.lineage(1), stores.config())
    found = [store.client.get_run(run) for run in (run_id, other)]
    monkeypatch.setattr(store.client, "search_runs", lambda *_, **__: found)
    with pytest.raises(InputError, match=f"begins the ids of 2 runs: {run_id}, {other}"):
        tracking_recorded.find(store, run_id[:6])


def test_the_run_of_a_retraining_means_its_newest_attempt(store: Store) -> None:
    first = stores.lineage()
    parent = start_retraining(store, first, ["default", "large-mlp"])
    with pytest.raises(InputError, match="a retraining in which no training has begun yet"):
        tracking_recorded.find(store, parent)
    attempts = [first, first.model_copy(update={"id": f"{first.id}-2", "attempt": 2})]
    runs = [
        start_run(store, attempt.model_copy(update={"mlflow_parent_run_id": parent}), stores.config())
        for attempt in attempts
    ]
    assert tracking_recorded.find(store, parent) == runs[1]
    assert tracking_recorded.find(store, f"{first.id}-2") == runs[1]


def test_a_training_comes_back_as_it_was_logged(store: Store, run_id: str, tmp_path: Any) -> None:
    recorded = tracking_recorded.read(store, run_id)
    assert recorded.points == POINTS
    assert recorded.lineage == stores.lineage(mlflow_run_id=run_id)
    assert (recorded.status, recorded.device, tracking_recorded.folder(store, run_id)) == ("RUNNING", "cpu", tmp_path)
    assert recorded.section("monitor")["window"] == 5
    assert recorded.section("monitor")["stop_on"] == ["nan", "exploding_loss", "abort", "collapse"]
    assert (recorded.section("train")["seed"], recorded.section("train")["algorithm"]) == (7, "ppo")
    assert (recorded.timesteps, recorded.timesteps_per_second) == (600_000, 620_000.0)
    assert (recorded.newest - recorded.started).total_seconds() == 180.0
    assert recorded.poisoned_at is None


def test_of_two_evaluations_the_newer_counts(store: Store, run_id: str) -> None:
    again = POINTS[1].model_copy(update={"success_rate": 0.5})
    log(store, run_id, again, store.client.get_run(run_id).info.start_time + 600_000)
    assert tracking_recorded.read(store, run_id).points == (POINTS[0], again, POINTS[2])


def test_half_an_evaluation_is_none(store: Store, run_id: str) -> None:
    """The figures of one evaluation may arrive in two batches."""
    store.client.log_metric(run_id, tracking_recorded.SUCCESS, 0.8, step=800_000)
    assert tracking_recorded.read(store, run_id).points == POINTS


def test_a_weight_that_is_no_number_is_known(store: Store, run_id: str) -> None:
    store.client.log_metric(run_id, tracking_recorded.POISONED, 0.0, step=700_000)
    assert tracking_recorded.read(store, run_id).poisoned_at == 700_000


def test_a_run_before_its_first_evaluation(store: Store) -> None:
    recorded = tracking_recorded.read(store, start_run(store, stores.lineage(), stores.config()))
    assert (recorded.points, recorded.timesteps, recorded.timesteps_per_second) == ((), 0, 0.0)
    assert (recorded.started, recorded.device) == (recorded.newest, None)


def test_a_foreign_run_is_no_training(store: Store) -> None:
    run = store.client.create_run(store.experiment_id)
    with pytest.raises(ValueError, match="Lineage"):
        tracking_recorded.read(store, run.info.run_id)
