"""Runs and logged models erased for good, files and rows; behind a server, where rows cannot be erased, only marked.

Safe to repeat after a kill: the files go first, and the rows by which they are found last.
"""

from contextlib import suppress
from typing import Any

from hlynr.ops.tracking import mlflow_private
from hlynr.ops.tracking.store import Store, local_path


def marked_models(store: Store) -> list[Any]:
    """Logged models that are marked as deleted, as by a deletion that was interrupted; none behind a server."""
    database = mlflow_private.database(store.client)
    return list(database.deleted_models()) if database else []


def erase_run(store: Store, run_id: str, artifacts: str) -> None:
    """Erase a run that is marked as deleted."""
    if (database := mlflow_private.database(store.client)) is not None:
        _delete_files(artifacts)
        database.erase_run(run_id)


def erase_model(store: Store, model_id: str, location: str) -> None:
    """Erase a logged model that is marked as deleted."""
    if (database := mlflow_private.database(store.client)) is not None:
        _delete_files(location)
        database.erase_model(model_id)


def _delete_files(location: str) -> None:
    """Remove the files of one run or model, and the folder that MLflow leaves around them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(location).delete_artifacts()  # type: ignore[no-untyped-call]
    folder = local_path(location)
    if folder is not None:
        with suppress(OSError):  # it was never made, or holds more
            folder.parent.rmdir()
