"""The private parts of MLflow that hlynr uses are what the installed version has."""

from __future__ import annotations

import mlflow
from mlflow.entities import ViewType

from hlynr.ops.tracking import mlflow_private
from hlynr.ops.tracking.store import Store

CHANGED = (
    f"MLflow {mlflow.__version__} differs from the one hlynr was written for: see hlynr/ops/tracking/mlflow_private.py"
)


def test_the_database_lists_and_erases_what_is_deleted(store: Store) -> None:
    client = store.client
    run_id = client.create_run(store.experiment_id).info.run_id
    model = client.create_logged_model(store.experiment_id, "policy", run_id)
    client.delete_run(run_id)
    client.delete_logged_model(model.model_id)
    database = mlflow_private.database(client)
    assert database is not None, CHANGED
    try:
        assert database.deleted_runs(before=10**14) == {run_id}, CHANGED
        assert database.deleted_runs(before=0) == set(), CHANGED
        assert [found.model_id for found in database.deleted_models()] == [model.model_id], CHANGED
        database.erase_model(model.model_id)
        database.erase_run(run_id)
    except (AttributeError, TypeError) as error:
        raise AssertionError(CHANGED) from error
    assert list(database.deleted_models()) == [], CHANGED
    assert len(client.search_runs([store.experiment_id], run_view_type=ViewType.ALL)) == 0, CHANGED


def test_a_server_has_no_database() -> None:
    client = mlflow.MlflowClient(tracking_uri="http://127.0.0.1:9", registry_uri="http://127.0.0.1:9")
    assert mlflow_private.database(client) is None, CHANGED
