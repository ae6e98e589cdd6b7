"""A store of an earlier version, which spoke of nights, goes on without loss."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support import mortal, stores

from hlynr.ops.registry.versions import find
from hlynr.ops.retention import survey
from hlynr.ops.tracking import recorded, runs, views
from hlynr.ops.tracking import store as store_module
from hlynr.ops.tracking.migration import DONE, migrate, present
from hlynr.ops.tracking.store import Store, open_store
from hlynr.ops.versioning.experiments import experiment_names

NIGHT = "20261123-180530-4f2a9c"


@pytest.fixture
def former(store: Store, project: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """One night that was refused, one that failed, one pruned, one that is running, and a registered version."""
    client = store.client
    client.delete_experiment_tag(store.experiment_id, next(iter(DONE)))
    client.set_experiment_tag(store.experiment_id, "hlynr.night.failed.20261120-020000-aaaaaa", "pruned")
    client.set_experiment_tag(store.experiment_id, views.NOTE_TAG, "One run per night, with its attempts below it.")
    for number, outcome in enumerate(("refused", "failed", None)):
        tags = {"hlynr.night": f"{NIGHT[:-1]}{number}", "hlynr.night.number": str(number)}
        tags |= {"hlynr.night.outcome": outcome, "hlynr.night.plan": "default"} if outcome else {}
        name = f"night {number} · {outcome} · 20261123-180530" if outcome else f"night {number} · 20261123-180530"
        parent = client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
        tags = {
            "hlynr.lineage.id": f"{NIGHT[:-1]}{number}",
            "hlynr.lineage.created": "2026-11-23T18:05:30+00:00",
            "hlynr.lineage.params_digest": "0" * 64,
            "hlynr.lineage.night": str(number),
            "hlynr.lineage.mlflow_night_id": parent,
            "mlflow.parentRunId": parent,
            "hlynr.gate": outcome or "",
        }
        run = client.create_run(store.experiment_id, run_name=f"night {number} · 1 default · ppo", tags=tags)
        client.log_param(run.info.run_id, "run.night", number)
    version, _ = stores.retraining(store, project, 7)
    client.delete_model_version_tag(store.model, str(version), "hlynr.lineage.retraining")
    client.set_model_version_tag(store.model, str(version), "hlynr.lineage.night", "7")
    client.set_model_version_tag(store.model, str(version), "hlynr.gate", "refused")
    monkeypatch.setattr(store_module, "_opened", {})  # the next process opens it
    return store


def everything(store: Store) -> tuple[object, ...]:
    """Names and tags of all that the migration may touch."""
    client = store.client
    found = client.search_runs([store.experiment_id])
    runs = sorted((str(run.info.run_name), sorted(run.data.tags.items())) for run in found)
    models = [sorted(model.tags.items()) for model in client.search_logged_models([store.experiment_id])]
    versions = [sorted(version.tags.items()) for version in client.search_model_versions()]
    return runs, models, versions, sorted(client.get_experiment(store.experiment_id).tags.items())


def test_readers_find_a_former_store_under_the_present_names(
    former: Store, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        store = open_store(stores.config(), project)
    assert [record.message for record in caplog.records] == [
        "the MLflow store is of an earlier version: 7 entries got their present names"
    ]
    names = {str(run.info.run_name) for run in store.client.search_runs([store.experiment_id])}
    assert {"#0 · not promoted · 20261123-180530", "#1 · failed · 20261123-180530", "#2 · 20261123-180530"} <= names
    assert "#2 · 1 default · ppo" in names
    assert runs.failed_retrainings(store) == {f"{NIGHT[:-1]}1", "20261120-020000-aaaaaa"}
    assert find(store, 1).retraining == 7
    assert find(store, 1).tags["hlynr.gate"] == "not_promoted"
    found = recorded.read(store, recorded.find(store, f"{NIGHT[:-1]}2"))
    assert found.lineage.retraining == 2
    assert found.lineage.mlflow_parent_run_id is not None
    assert found.section("run") == {"retraining": 2}
    assert store.client.get_experiment(store.experiment_id).tags[views.NOTE_TAG] == views.NOTE


def test_the_former_tags_stay(former: Store, project: Path) -> None:
    store = open_store(stores.config(), project)
    tags = [run.data.tags for run in store.client.search_runs([store.experiment_id])]
    assert {run["hlynr.night.outcome"] for run in tags if "hlynr.night.outcome" in run} == {"refused", "failed"}


def test_it_is_done_once(former: Store, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(stores.config(), project)
    before = everything(store)
    experiment = store.client.get_experiment(store.experiment_id)
    assert mortal.survives(lambda dying: migrate(dying.client, experiment), store, 0)
    monkeypatch.setattr(store_module, "_opened", {})  # the next process opens it again
    open_store(stores.config(), project)
    assert everything(store) == before


def test_killed_at_any_write_it_is_completed_by_the_next(former: Store, project: Path) -> None:
    kills = 0
    while not mortal.survives(lambda dying: migrate(dying.client, experiment(former)), former, 1):
        kills += 1
    done = everything(former)
    former.client.delete_experiment_tag(former.experiment_id, next(iter(DONE)))
    migrate(former.client, experiment(former))
    assert everything(former) == done
    assert kills > 10


def experiment(store: Store) -> object:
    return store.client.get_experiment(store.experiment_id)


def test_a_run_deleted_under_its_former_name_is_pruned_as_a_retraining(former: Store, project: Path) -> None:
    """MLflow takes no tags for deleted runs."""
    for run in former.client.search_runs([former.experiment_id], "tags.`hlynr.night.number` = '2'"):
        former.client.delete_run(run.info.run_id)
    store = open_store(stores.config(), project)
    kinds = [family.kind for family in survey.survey(store, project, 10**14).going]
    assert kinds.count("retraining") == 2  # this one and the failed one; the third ended with a decision


def test_present_names_win_where_both_are_there() -> None:
    tags = {"hlynr.night.outcome": "refused", "hlynr.retraining.outcome": "promoted", "other": "x"}
    assert present(tags) == tags
    assert present({"hlynr.nightly": "x"}) == {"hlynr.nightly": "x"}


def test_both_names_of_an_experiment_are_known() -> None:
    assert experiment_names(NIGHT) == (f"retraining-{NIGHT}", f"night-{NIGHT}")
    assert experiment_names("") == ()
