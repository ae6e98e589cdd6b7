"""Runs and logged models leave MLflow: their rows, and where a database is reached directly, their files.

This is what ``mlflow gc`` does, without that command: beside the runs it is told, it erases whatever experiments and
logged models somebody has ever deleted in the UI, however recently.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hlynr.ops.retention.inventory import database
from hlynr.ops.retention.survey import RunFamily
from hlynr.ops.tracking import runs
from hlynr.ops.tracking.store import Store


def remove(store: Store, family: RunFamily) -> None:
    """Erase a family; on a server, mark it as deleted.

    Safe to repeat after a kill: the rows go last, the head's after all others, so that what is left is found again.
    """
    outcome = family.head.tags.get(runs.OUTCOME_TAG)
    if outcome == "failed" and runs.RETRAINING_TAG in family.head.tags:
        runs.remember_failed(store, family.head.tags[runs.RETRAINING_TAG])
    for run in family.runs:
        if not run.deleted:
            store.client.delete_run(run.id)
    for model in family.models:
        if not model.deleted:
            store.client.delete_logged_model(model.id)
    behind = database(store)
    if behind is None:
        return
    for model in family.models:
        _empty(model.location)
        behind._hard_delete_logged_model(model.id)
    for run in reversed(family.runs):
        _empty(run.artifacts)
        behind._hard_delete_run(run.id)


def size(family: RunFamily) -> int | None:
    """Bytes of its files; None where they are on no disk of this machine."""
    folders = [
        _local(place) for place in (*(run.artifacts for run in family.runs), *(m.location for m in family.models))
    ]
    if any(folder is None for folder in folders):
        return None
    files = (file for folder in folders if folder for file in folder.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)


def _empty(location: str) -> None:
    """Remove the files of one run or model, and the folder that MLflow leaves around them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(location).delete_artifacts()  # type: ignore[no-untyped-call]
    folder = _local(location)
    if folder is not None:
        with suppress(OSError):  # it was never made, or holds more
            folder.parent.rmdir()


def _local(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else location)
