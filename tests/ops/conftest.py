"""A project folder with an MLflow database, copied from one made once: creating it takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import stores

from hlynr.ops.tracking.store import Store, open_store


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without the project's experiment, whose artifact location would be that of another folder."""
    root = tmp_path_factory.mktemp("database")
    open_store(stores.config("tracking.experiment=template"), root)
    return root / "mlruns" / "mlflow.db"


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Path:
    """A project folder, with a blank and a non-ASCII character in its name, as people have them."""
    root = tmp_path / "my prøject"
    (root / "mlruns").mkdir(parents=True)
    shutil.copy(database, root / "mlruns" / "mlflow.db")
    return root


@pytest.fixture
def store(project: Path) -> Store:
    return open_store(stores.config(), project)
