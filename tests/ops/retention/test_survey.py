"""Which of MLflow's runs may go, on a real database."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType
from support import stores

from hlynr.ops.registry import promotion, versions
from hlynr.ops.retention import prune as retention_prune
from hlynr.ops.retention import survey
from hlynr.ops.retention.survey import Survey
from hlynr.ops.tracking import mlflow_private, search_mirror
from hlynr.ops.tracking import runs as tracking_runs
from hlynr.ops.tracking.store import Store
from hlynr.ops.versioning.experiments import experiment_names

DAY = 86_400_000  # [ms]
BEFORE = round(1000 * time.time()) - 30 * DAY
OLD, YOUNG = BEFORE - DAY, BEFORE + DAY
ALONE = {tracking_runs.LINEAGE_TAG: "20260101-000000-abcdef"}


def _run(store: Store, tags: dict[str, str], began: int = OLD, **end: Any) -> str:
    """A run that ended when it began, unless it still runs."""
    run_id = str(store.client.create_run(store.experiment_id, began, tags, "a run").info.run_id)
    if end != {"status": "RUNNING"}:
        store.client.set_terminated(run_id, **{"status": "FINISHED", "end_time": began, **end})
    return run_id


def _look(store: Store, before: int = BEFORE) -> Survey:
    return survey.survey(store, Path("/project/outputs/train"), before)


def _going(found: Survey) -> list[set[str]]:
    return [{run.id for run in family.runs} for family in found.going]


@pytest.mark.parametrize(
    ("kind", "tags", "reason"),
    [
        ("training", ALONE, "no registered version came from it"),
        ("search", {"hlynr.study": "stability"}, "a search of hyperparameters"),
        ("retraining", {tracking_runs.RETRAINING_TAG: "x"}, "ended without a decision"),
        (
            "retraining",
            {tracking_runs.RETRAINING_TAG: "x", tracking_runs.OUTCOME_TAG: "failed"},
            "every attempt failed",
        ),
    ],
)
def test_what_is_old_goes_with_all_below_it(store: Store, kind: str, tags: dict[str, str], reason: str) -> None:
    head = _run(store, tags)
    below = _run(store, {tracking_runs.PARENT_TAG: head})
    deepest = _run(store, {tracking_runs.PARENT_TAG: below})
    found = _look(store)
    assert _going(found) == [{head, below, deepest}]
    assert [(family.kind, family.head.id, family.reason) for family in found.going] == [(kind, head, reason)]
    assert dict(found.kept) == {}


@pytest.mark.parametrize("end", [{"status": "RUNNING"}, {"status": "KILLED", "end_time": YOUNG}])
def test_one_young_member_keeps_its_family(store: Store, end: dict[str, Any]) -> None:
    head = _run(store, {tracking_runs.RETRAINING_TAG: "x"})
    _run(store, {tracking_runs.PARENT_TAG: head})
    _run(store, {tracking_runs.PARENT_TAG: head}, YOUNG if end["status"] == "RUNNING" else OLD, **end)
    found = _look(store)
    assert _going(found) == []
    assert found.kept == {survey.YOUNG: 3}


def test_a_run_without_end_goes_unless_it_still_says_something(store: Store) -> None:
    dead, living = _run(store, ALONE, status="RUNNING"), _run(store, ALONE, status="RUNNING")
    store.client.log_metric(dead, "eval/success_rate", 0.5, OLD)
    store.client.log_metric(living, "eval/success_rate", 0.5, YOUNG)
    assert _going(_look(store)) == [{dead}]


def test_a_foreign_run_goes_only_long_after_it_was_deleted(store: Store) -> None:
    deleted, _ = _run(store, {}), _run(store, {})
    store.client.delete_run(deleted)
    assert _going(_look(store)) == []
    assert _going(_look(store, round(1000 * time.time()) + DAY)) == [{deleted}]


def test_a_trial_that_was_deleted_long_ago_goes_alone(store: Store) -> None:
    now = round(1000 * time.time())
    search = _run(store, {"hlynr.study": "s"}, now + 2 * DAY)
    parent = {tracking_runs.PARENT_TAG: search}
    again, _ = (
        _run(store, parent | {search_mirror.TRIAL_TAG: "0"}),
        _run(store, parent | {search_mirror.TRIAL_TAG: "0"}),
    )
    store.client.delete_run(again)
    found = _look(store, now + DAY)
    assert _going(found) == [{again}]
    assert found.kept == {survey.YOUNG: 2}


def test_a_trial_whose_search_is_gone_is_no_foreign_run(store: Store) -> None:
    trial = _run(store, {tracking_runs.PARENT_TAG: "gone", search_mirror.TRIAL_TAG: "0"})
    assert [(family.kind, family.head.id) for family in _look(store).going] == [("search", trial)]


def test_the_newest_training_in_the_outputs_folder_stays(store: Store) -> None:
    here = ALONE | {tracking_runs.FOLDER_TAG: "/project/outputs/train"}
    older = _run(store, here, OLD - DAY)
    retraining = _run(store, {tracking_runs.RETRAINING_TAG: "x"})
    _run(store, here | {tracking_runs.PARENT_TAG: retraining})
    found = _look(store)
    assert _going(found) == [{older}]
    assert found.kept == {survey.NEWEST: 2}


def test_whatever_version_of_whatever_model_keeps_its_retraining(store: Store) -> None:
    retraining = _run(store, {tracking_runs.RETRAINING_TAG: "x"})
    attempts = [_run(store, {tracking_runs.PARENT_TAG: retraining} | ALONE) for _ in range(2)]
    by_model = _run(store, ALONE)
    model = store.client.create_logged_model(store.experiment_id, "policy", by_model)
    store.client.create_registered_model("another")
    store.client.create_model_version("another", "file:///nowhere", attempts[0])
    store.client.create_model_version("another", f"file:///models/{model.model_id}/artifacts")
    assert _look(store).kept == {survey.POINTED_TO: 4}


def test_the_history_keeps_what_it_names_even_deleted_runs(store: Store, project: Path) -> None:
    version, run_id = stores.retraining(store, project)
    attempt = _run(store, {tracking_runs.PARENT_TAG: run_id})
    sibling = _run(store, {tracking_runs.RETRAINING_TAG: stores.lineage().id})
    evaluation = stores.evaluation(0.9, 0, str(versions.find(store, version).bundle_sha256))
    promotion.apply_decision(store, stores.decision(), version, evaluation, stores.lineage(), run_id)
    store.client.delete_model_version(store.model, str(version))
    for each in (run_id, attempt, sibling):
        store.client.delete_run(each)
    later = round(1000 * time.time()) + DAY
    found = _look(store, later)
    assert found.kept == {survey.POINTED_TO: 3}
    assert found.known == set(experiment_names(stores.lineage().id))
    assert found.experiments == frozenset()


def test_an_experiment_goes_only_if_no_other_run_names_it(store: Store) -> None:
    shared = {tracking_runs.LINEAGE_TAG: "20260102-000000-abcdef"}
    _run(store, ALONE)
    _run(store, shared)
    _run(store, shared, YOUNG)
    found = _look(store)
    assert found.experiments == set(experiment_names("20260101-000000-abcdef"))
    assert found.known == set(experiment_names("20260102-000000-abcdef"))


def test_every_page_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    really = store.client.search_runs
    runs = [{_run(store, ALONE)} for _ in range(5)]
    monkeypatch.setattr(store.client, "search_runs", lambda **wanted: really(**wanted | {"max_results": 2}))
    assert sorted(map(sorted, _going(_look(store)))) == sorted(map(sorted, runs))


def test_a_server_only_marks_as_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through HTTP there is no way to erase."""
    run_id = _run(store, ALONE)
    store.client.log_text(run_id, "text", "page.txt")
    model = store.client.create_logged_model(store.experiment_id, "policy", run_id)
    monkeypatch.setattr(mlflow_private, "database", lambda _: None)
    (family,) = _look(store).going
    retention_prune.remove(store, family)
    (run,) = store.client.search_runs([store.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert run.info.run_id == run_id
    assert list(store.lock_file.parent.rglob("page.txt"))
    assert model.model_id not in {each.model_id for each in store.client.search_logged_models([store.experiment_id])}
    assert _look(store).going == ()  # nothing more to do from here


def test_only_what_is_named_is_deleted(store: Store) -> None:
    """`mlflow gc --run-ids` would erase other things that were deleted in the UI a moment ago, too."""
    chosen, spared = _run(store, ALONE), _run(store, {})
    models = [store.client.create_logged_model(store.experiment_id, "policy", run_id) for run_id in (chosen, spared)]
    experiment = store.client.create_experiment("another")
    store.client.delete_experiment(experiment)
    store.client.delete_run(spared)
    store.client.delete_logged_model(models[1].model_id)
    for family in _look(store).going:
        retention_prune.remove(store, family)
    remaining = store.client.search_runs([store.experiment_id], run_view_type=ViewType.ALL)
    assert [run.info.run_id for run in remaining] == [spared]
    database = mlflow_private.database(store.client)
    assert database is not None
    assert [model.model_id for model in database.deleted_models()] == [models[1].model_id]
    assert store.client.get_experiment(experiment).lifecycle_stage == "deleted"
