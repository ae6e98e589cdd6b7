"""What a retraining does to the MLflow store, in small: a tag and an artifact are written, read back and deleted."""

from __future__ import annotations

import hashlib
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hlynr.ops.tracking.store import Store, StoreError, local_path


def rehearse(store: Store) -> None:
    """Write, read and delete; no run and no version is made.

    The names are the same each time on one machine, so that the next one replaces what a killed one has left.

    Raises:
        StoreError: naming the store of the artifacts, in one line, if it does not take and give back a file.
    """
    digest = hashlib.sha256(str(store.lock_file).encode(errors="surrogateescape")).hexdigest()
    name = f"hlynr.preflight.{socket.gethostname()}.{digest[:8]}"
    with store.lock():
        store.client.set_experiment_tag(store.experiment_id, name, "written by hlynr doctor, deleted at once")
        location = str(store.client.get_experiment(store.experiment_id).artifact_location)
        store.client.delete_experiment_tag(store.experiment_id, name)
        try:
            _write_and_delete(store, location, name)
        except Exception as error:  # of boto3, its plugins, the file system or a server: they have no common base
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"the artifacts cannot be written to {location} (tracking.artifacts): {reason}") from error


def _write_and_delete(store: Store, location: str, name: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    artifacts: Any = get_artifact_repository(location, tracking_uri=store.uri)
    with tempfile.TemporaryDirectory(prefix="hlynr-preflight-") as folder:
        (file := Path(folder, "note.txt")).write_text(name, encoding="utf-8")
        try:
            artifacts.log_artifact(str(file), name)
            (there := Path(folder, "back")).mkdir()
            back = artifacts.download_artifacts(f"{name}/{file.name}", str(there))
            if Path(back).read_text(encoding="utf-8") != name:
                raise StoreError("what was written comes back with other bytes")
        finally:
            artifacts.delete_artifacts(name)
            if (path := local_path(location)) is not None:
                with suppress(OSError):  # it holds the runs
                    path.rmdir()
