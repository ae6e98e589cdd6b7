"""An SQLite database is opened where it is to lie, whatever the name of its folder."""

import asyncio
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from support import ROOT

from hlynr.config import params
from hlynr.config.params import ConfigError
from hlynr.runtime import database_uri

NAMES = (
    "plain", "q?x", "?", "a#b", "a%20b", "%3F", "%(x)s", "a b", "pr\u00fcf", "a'b", 'a"b', "a\nb", "-a", "~a", "a:b",
    "a&b=c", "a;b", "a\\b", "file:", "x?uri=true", "n" * 200,
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_file_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    root = tmp_path / name
    root.mkdir()
    for driver in ("sqlite", "sqlite+aiosqlite"):
        uri = database_uri.absolute(f"sqlite:///{driver}.db", root, driver)
        assert database_uri.file(uri) == root / f"{driver}.db"
        _create_table(uri)
    optuna.create_study(storage=database_uri.absolute("sqlite:///optuna.db", root))
    assert {each.name for each in root.iterdir()} == {"sqlite.db", "sqlite+aiosqlite.db", "optuna.db"}
    assert {each.name for each in tmp_path.iterdir()} == {"here", name}
    assert not list(here.iterdir())


def _create_table(uri: str) -> None:
    table = sqlalchemy.text("create table t (x int)")
    if "aiosqlite" not in uri:
        engine = sqlalchemy.create_engine(uri)
        with engine.begin() as connection:
            connection.execute(table)
        engine.dispose()
        return

    async def create() -> None:
        asynchronous = create_async_engine(uri)
        async with asynchronous.begin() as connection:
            await connection.execute(table)
        await asynchronous.dispose()

    asyncio.run(create())


def test_other_addresses_stay(tmp_path: Path) -> None:
    assert database_uri.absolute("sqlite:///mlruns/mlflow.db", tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    for uri in ("sqlite:////srv/mlflow.db", "http://localhost:5000", "postgresql://host/name"):
        assert database_uri.absolute(uri, tmp_path) == uri
    assert database_uri.file("http://localhost:5000") is None
    assert database_uri.file("postgresql://host/name") is None


@pytest.mark.parametrize("key", ["tracking.uri", "tune.storage", "service.database"])
def test_a_database_has_no_options(key: str) -> None:
    """A question mark would be part of the file's name."""
    with pytest.raises(ConfigError, match=f"^{key}: .* is not sqlite:///PATH"):
        params.load(ROOT / "params.yaml", [f"{key}=sqlite:///a.db?timeout=5"])
