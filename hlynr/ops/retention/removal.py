"""Runs and logged models leave MLflow: their rows, and where a database is reached directly, their files."""

from __future__ import annotations

from contextlib import suppress

from hlynr.ops.retention.survey import RunFamily
from hlynr.ops.tracking import mlflow_private, runs
from hlynr.ops.tracking.store import Store, local_path


def remove(store: Store, family: RunFamily) -> None:
    """Erase a family; on a server, mark it as deleted.

    Safe to repeat after a kill: the rows go last, the head's after all others, so that the rest is found again.
    """
    head = family.head.tags
    if head.get(runs.OUTCOME_TAG) == "failed" and runs.RETRAINING_TAG in head:
        runs.remember_failed(store, head[runs.RETRAINING_TAG])
    for run in family.runs:
        if not run.deleted:
            store.client.delete_run(run.id)
    for model in family.models:
        if not model.deleted:
            store.client.delete_logged_model(model.id)
    database = mlflow_private.database(store.client)
    if database is None:
        return
    for model in family.models:
        _delete_files(model.location)
        database.erase_model(model.id)
    for run in reversed(family.runs):
        _delete_files(run.artifacts)
        database.erase_run(run.id)


def size(family: RunFamily) -> int | None:
    """Bytes of its files; None where they are on no disk of this machine."""
    locations = [*(run.artifacts for run in family.runs), *(model.location for model in family.models)]
    folders = [folder for folder in map(local_path, locations) if folder]
    if len(folders) < len(locations):
        return None
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def _delete_files(location: str) -> None:
    """Remove the files of one run or model, and the folder that MLflow leaves around them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(location).delete_artifacts()  # type: ignore[no-untyped-call]
    folder = local_path(location)
    if folder is not None:
        with suppress(OSError):  # it was never made, or holds more
            folder.parent.rmdir()
