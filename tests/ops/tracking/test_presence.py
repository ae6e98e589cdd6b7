"""Runs that others deleted or edited in MLflow while they are written to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from support import stores

from hlynr.ops.tracking import mlflow_private, presence, runs
from hlynr.ops.tracking.metric_stream import MetricStream
from hlynr.ops.tracking.store import Store, open_store

Act = Callable[[Store, str], None]
NOTE = "mlflow.note.content"


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_erased", set())


def mark(store: Store, run_id: str) -> None:
    store.client.delete_run(run_id)


def erase(store: Store, run_id: str) -> None:
    store.client.delete_run(run_id)
    database = mlflow_private.database(store.client)
    assert database is not None
    database.erase_run(run_id)


def begun(store: Store, number: int = 0) -> tuple[str, str]:
    """A retraining and its attempt."""
    parent = runs.start_retraining(store, stores.lineage(number), ["default"])
    lineage = stores.lineage(number, mlflow_parent_run_id=parent)
    return parent, runs.start_run(store, lineage, stores.config())


def ended(store: Store, parent: str, run_id: str) -> list[bool]:
    """All that a retraining writes after its training."""
    return [
        runs.set_lineage(store, run_id, stores.lineage()),
        runs.log_report(store, run_id, stores.evaluation(), stores.config(), []),
        runs.log_decision(store, run_id, stores.decision()),
        runs.finish_run(store, run_id, "FINISHED", "done"),
        runs.conclude_retraining(store, parent, "promoted", {"attempts": 1}, "done"),
    ]


def test_what_was_deleted_in_the_ui_is_restored_and_written(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    parent, run_id = begun(store)
    mark(store, run_id)
    mark(store, parent)
    assert ended(store, parent, run_id) == [True] * 5
    found = [store.client.get_run(each) for each in (run_id, parent)]
    assert [(run.info.status, run.info.lifecycle_stage) for run in found] == [("FINISHED", "active")] * 2
    assert "report/success_rate" in found[0].data.metrics
    assert ["restored" in record.getMessage() for record in caplog.records] == [True] * 2


def test_what_was_erased_is_gone_on_without_and_said_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    parent, run_id = begun(store)
    erase(store, run_id)
    erase(store, parent)
    assert ended(store, parent, run_id) == [False] * 5
    assert [run_id in caplog.text, parent in caplog.text, len(caplog.records)] == [True, True, 2]


def test_a_deleted_experiment_is_restored_with_its_runs(store: Store, project: Path) -> None:
    parent, run_id = begun(store)
    store.client.delete_experiment(store.experiment_id)
    assert ended(store, parent, run_id) == [True] * 5
    assert open_store(stores.config(), project).experiment_id == store.experiment_id


@pytest.mark.parametrize("act", [mark, erase])
def test_metrics_of_a_deleted_run(store: Store, tmp_path: Path, act: Act) -> None:
    _, run_id = begun(store)
    with closing(MetricStream(store, run_id, tmp_path / "unsent.jsonl", interval=60)) as stream:
        stream.log(1, {"eval/success_rate": 0.5})
        act(store, run_id)
    assert (tmp_path / "unsent.jsonl").exists() == (act is erase)  # kept, as for a store that does not answer
    if act is mark:
        assert store.client.get_run(run_id).data.metrics["eval/success_rate"] == 0.5


def test_a_resumed_training_finds_its_deleted_run(store: Store) -> None:
    parent, run_id = begun(store)
    for each in (run_id, parent):
        mark(store, each)
    assert runs.start_run(store, stores.lineage(mlflow_parent_run_id=parent), stores.config()) == run_id
    assert [store.client.get_run(each).info.status for each in (run_id, parent)] == ["RUNNING"] * 2


def test_a_resumed_training_whose_run_was_erased_has_another_one(store: Store) -> None:
    parent, run_id = begun(store)
    for each in (run_id, parent):
        erase(store, each)
    other = runs.start_run(store, stores.lineage(mlflow_parent_run_id=parent), stores.config())
    assert other != run_id
    everything = store.client.search_runs([store.experiment_id], run_view_type=ViewType.ALL)
    assert [run.info.run_id for run in everything] == [other]


@pytest.mark.parametrize("status", ["FINISHED", "KILLED", "FAILED"])
def test_a_status_set_by_hand_is_overwritten(store: Store, status: str) -> None:
    parent, run_id = begun(store)
    store.client.set_terminated(run_id, status)
    store.client.set_terminated(parent, status)
    assert ended(store, parent, run_id) == [True] * 5
    assert store.client.get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize("tag", [runs.RETRAINING_TAG, runs.NUMBER_TAG])
def test_tags_that_were_removed_stop_nothing(store: Store, tag: str) -> None:
    parent, run_id = begun(store)
    store.client.delete_tag(parent, tag)
    assert ended(store, parent, run_id) == [True] * 5
    assert store.client.get_run(parent).data.tags[NOTE] == "done"
    runs.conclude_retraining(store, parent, "failed", {}, "")
    assert runs.failed_retrainings(store) <= {stores.lineage().id}


def test_another_error_of_a_write_stays_one(store: Store) -> None:
    _, run_id = begun(store)
    with pytest.raises(MlflowException):
        runs.log_figures(store, run_id, {"a name with a ! in it": 1.0})


def test_numbers_of_deleted_retrainings_are_not_used_again(store: Store) -> None:
    for number in range(3):
        parent, _ = begun(store, number)
        runs.conclude_retraining(store, parent, "promoted", {}, "")
        mark(store, parent)
    begun(store, 3)  # was interrupted
    assert sorted(filter(None, runs.concluded(store).values())) == [1, 2]


@pytest.mark.parametrize("number", ["seven", "-1", "99999999999999", ""])
def test_an_edited_number_is_none(store: Store, number: str) -> None:
    parent, _ = begun(store)
    runs.conclude_retraining(store, parent, "promoted", {}, "")
    store.client.set_tag(parent, runs.NUMBER_TAG, number)
    assert list(runs.concluded(store).values()) == [None]
