"""The MLflow store: its location, its creation, and the lock around what must happen once.

MLflow is imported inside functions, because it takes seconds; all calls go through one explicit client and depend on
no global tracking URI or active run.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hlynr.config.config import Config
from hlynr.config.sections import Tracking
from hlynr.ops.tracking import migration, mlflow_private, shared_lock, views
from hlynr.ops.tracking.client import NOT_MLFLOW, StoreUnavailableError, connect, described
from hlynr.ops.tracking.shared_lock import Confirm
from hlynr.runtime import database_uri, environment, locks
from hlynr.runtime.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_TIMEOUT = 120.0
"""[s] to wait for the lock: creating the database takes seconds, all else milliseconds."""

_log = logging.getLogger(__name__)


class StoreError(EnvironmentNotReady):
    """The store cannot be used as configured; the message says what to do."""


@dataclass(frozen=True)
class Store:
    """An open MLflow store with the experiment and the registered model of the configuration."""

    uri: str
    """Absolute; the value of ``MLFLOW_TRACKING_URI`` with which MLflow's own commands find the same store."""
    client: MlflowClient
    experiment_id: str
    model: str
    lock_file: Path

    def has(self, experiment: str) -> bool:
        """Whether it still holds the experiment: database and experiment can be removed while this process runs."""
        database = database_uri.file(self.uri)
        if database and not database.exists():
            return False
        found = self.client.get_experiment_by_name(experiment)
        return found is not None and (found.experiment_id, found.lifecycle_stage) == (self.experiment_id, "active")

    def lock(self) -> AbstractContextManager[None]:
        """A lock among the processes of this machine; not reentrant."""
        return _locked(self.lock_file)

    @contextmanager
    def registry_lock(self) -> Iterator[Confirm]:
        """A lock among all processes that change the registry, on any machine; not reentrant.

        What it yields is to be called right before a write that must not happen twice; it raises where the lock has
        been lost. A database file belongs to this machine, and a file lock cannot be lost; a shared store has a lock
        in itself.
        """
        if database_uri.file(self.uri):
            with self.lock():
                yield lambda: None
        else:
            with shared_lock.hold(self.client, f"{self.model}.lock") as confirm:
                yield confirm


def quiet_mlflow() -> None:
    """Turn off MLflow's telemetry and progress messages.

    Effective only before MLflow's first import: without it, telemetry writes to the home directory.
    """
    environment.extend(environment.fixed("MLFLOW_", "DO_NOT_TRACK"))
    # Prints the whole traceback of an error that it then raises: a full disk would be two hundred lines.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # MLflow waits two minutes for an answer, seven times. Half a minute is enough for a server that restarts.
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4"}
    environment.extend({name: os.environ.get(name, value) for name, value in patience.items()})


def open_existing(config: Config, root: Path) -> Store | None:
    """As `open_store`; None where there is no database yet: creating it takes seconds, too long only to read."""
    database = database_uri.file(database_uri.absolute(config.tracking.uri, root))
    if database and not database.exists():
        return None
    return open_store(config, root)


_opened: dict[tuple[int, Path, Tracking], Store] = {}
"""By process, since a connection does not survive a fork, project and settings."""


def open_store(config: Config, root: Path) -> Store:
    """Connect, once a process; creates database and experiment if they are missing, and is safe for racing processes.

    Raises:
        StoreError: if the experiment keeps its artifacts elsewhere than configured, as after moving the project.
    """
    key = (os.getpid(), root.resolve(), config.tracking)
    known = _opened.get(key)
    if known is None or not known.has(config.tracking.experiment):
        known = _opened[key] = _connected(config, root)
    return known


def _connected(config: Config, root: Path) -> Store:
    quiet_mlflow()
    uri = database_uri.absolute(config.tracking.uri, root)
    database = database_uri.file(uri)
    lock_file = database.with_name(f"{database.name}.lock") if database else root.resolve() / ".hlynr" / "mlflow.lock"
    chosen = config.tracking.artifacts
    server_decides = "://" not in chosen and uri.startswith(("http://", "https://"))
    artifacts = None if server_decides else artifact_root(chosen, root)
    with _locked(lock_file):
        if database and not database.exists():
            _create_database(database, artifacts)
        client = connect(uri)
        experiment_id = _experiment(client, uri, config.tracking.experiment, artifacts)
    return Store(uri, client, experiment_id, config.tracking.model, lock_file)


def _locked(path: Path) -> AbstractContextManager[None]:
    busy = StoreError(f"{path}: another process has held this lock for {LOCK_TIMEOUT:g} s")
    return locks.hold(path, busy=busy, wait=LOCK_TIMEOUT)


def artifact_root(artifacts: str, root: Path) -> str:
    """Where new experiments keep their artifacts, as a URI."""
    return artifacts if "://" in artifacts else (root.resolve() / artifacts).as_uri()


def _create_database(path: Path, artifacts: str | None) -> None:
    """Create all tables beside ``path`` and move them there whole.

    MLflow's migrations are not one transaction: a database that a kill leaves half made never opens again.
    """
    _log.info("creating the MLflow database %s", path)
    folder = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)  # of a killed attempt; SQLite would replay its journal into a new file
    folder.mkdir()
    unfinished = folder / path.name
    mlflow_private.create_tables(database_uri.of(unfinished), artifacts or str(path.parent))
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder.rmdir()


def _experiment(client: MlflowClient, uri: str, name: str, artifacts: str | None) -> str:
    """The experiment's id, created if missing, restored if deleted, migrated from an earlier version."""
    found = client.get_experiment_by_name(name)
    if found is not None and not found.experiment_id:  # the answer was empty
        raise StoreUnavailableError(f"{described(uri)} {NOT_MLFLOW}")
    if found is None:
        return str(client.create_experiment(name, artifact_location=artifacts, tags=views.tags() | migration.DONE))
    if found.lifecycle_stage == "deleted":
        _log.warning("the experiment %s was deleted in MLflow: restored, with its runs", name)
        client.restore_experiment(found.experiment_id)
    there, wanted = _normalised(found.artifact_location), _normalised(artifacts or found.artifact_location)
    if there != wanted:
        raise StoreError(
            f"experiment {name!r} keeps its artifacts in {there}, but the configuration puts them in {wanted}. MLflow "
            "stores absolute locations, so a store cannot be moved with its folder: move the project back, or set "
            "tracking.experiment to a new name, or remove the old store (mlruns) to start afresh"
        )
    for key in views.tags().keys() - found.tags.keys():
        client.set_experiment_tag(found.experiment_id, key, views.tags()[key])
    migration.migrate(client, found)
    return str(found.experiment_id)


def local_path(location: str) -> Path | None:
    """The folder of a path or file URI; None for any other URI."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else location)


def _normalised(location: str) -> str:
    """A location in the form in which two spellings of one local folder compare equal."""
    path = local_path(location)
    return location.rstrip("/") if path is None else str(path.resolve())
