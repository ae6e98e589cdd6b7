"""The private parts of MLflow that are used, each with its reason; a test checks them against the installed version."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hlynr.runtime import environment

if TYPE_CHECKING:
    from mlflow import MlflowClient


def create_tables(uri: str, artifacts: str) -> None:
    """Create the tables of a new database file, for whose migrations MLflow has no public call.

    Without waiting for the disk after each: 2 s instead of 5 on a busy one.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import Engine, event

    def unsynchronised(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", unsynchronised)
    try:
        SqlAlchemyStore(uri, artifacts).engine.dispose()  # type: ignore[no-untyped-call]
    finally:
        event.remove(Engine, "connect", unsynchronised)


def server_application(uri: str, artifacts: str, destination: str) -> Any:
    """What `mlflow server` serves, its database opened.

    It hands the options of its command line to the process that serves in these variables, read at the import.

    Args:
        uri: of the database.
        artifacts: where new experiments keep their artifacts.
        destination: where the server itself keeps those of experiments of the kind ``mlflow-artifacts:``.
    """
    environment.extend(
        {
            "_MLFLOW_SERVER_FILE_STORE": uri,
            "_MLFLOW_SERVER_REGISTRY_STORE": uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": destination,
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
    )
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(uri, uri, artifacts)
    return app


@dataclass(frozen=True)
class Database:
    """MLflow's database reached without a server: only there can rows be erased.

    ``mlflow gc`` does the same with these calls, but also erases every experiment and logged model that was ever
    deleted in the UI, however recently.
    """

    rows: Any

    def deleted_runs(self, before: int) -> set[str]:
        """Runs deleted before that time [ms since the epoch], for which there is no public call."""
        return set(self.rows._get_deleted_runs(older_than=round(1000 * time.time()) - before))

    def deleted_models(self) -> Iterator[Any]:
        """Logged models marked as deleted, which no public search returns."""
        for model_id in self.rows._get_deleted_logged_models():
            yield self.rows.get_logged_model(model_id, allow_deleted=True)

    def erase_run(self, run_id: str) -> None:
        """Remove the rows of a run."""
        self.rows._hard_delete_run(run_id)

    def erase_model(self, model_id: str) -> None:
        """Remove the rows of a logged model."""
        self.rows._hard_delete_logged_model(model_id)


def database(client: MlflowClient) -> Database | None:
    """The database behind a client; None where a server is in between."""
    behind = client._tracking_client.store
    return Database(behind) if hasattr(behind, "_hard_delete_run") else None
