"""A store that answers wrongly, slowly or not at all: every call ends as one line that names it, in bounded time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from support import databases, faulty_proxy, faulty_servers, projects
from support.faulty_proxy import Fault, FaultyProxy
from support.faulty_servers import HEAD, NOT_HTTP, Handler, answering

from hlynr.ops.tracking import client, store
from hlynr.ops.tracking.client import StoreUnavailableError
from hlynr.ops.tracking.store import Store
from hlynr.runtime.errors import NOT_READY, EnvironmentNotReady

HTML = b"<html><body>Sign in</body></html>"
ANSWERS: dict[str, tuple[Handler, str]] = {
    "login page": (answering("200 OK", HTML), "answers, but not as MLflow's server does"),
    "list": (answering("200 OK", b"[]"), "answers, but not as MLflow's server does"),
    "null": (answering("200 OK", b"null"), "answers, but not as MLflow's server does"),
    "other JSON": (answering("200 OK", b'{"experiment": 7}'), "answers, but not as MLflow's server does"),
    "other types": (
        answering("200 OK", b'{"experiment": {"experiment_id": {}, "name": []}}'),
        "answers, but not as MLflow's server does",
    ),
    "401": (answering("401 Unauthorized", HTML), "answers 401: it asks for other credentials"),
    "403": (answering("403 Forbidden", HTML), "answers 403: it asks for other credentials"),
    "403 JSON": (
        answering("403 Forbidden", b'{"error_code": "PERMISSION_DENIED", "message": "no"}'),
        "answers 403: it asks for other credentials",
    ),
    "404 page": (answering("404 Not Found", HTML), "answers 404"),
    "other API": (answering("404 Not Found", b'{"detail": "Not Found"}'), "answers 500: INTERNAL_ERROR: Response:"),
    "429": (answering("429 Too Many Requests", HTML), "answers 429"),
    **{str(code): (answering(f"{code} X", HTML), f"answers {code}") for code in (500, 502, 503, 504)},
    "cut": (
        faulty_servers.saying(HEAD + b"Content-Length: 1000\r\n\r\n{"),
        "breaks off its answer, or garbles it",
    ),
    "gzip": (
        answering("200 OK", b"\x1f\x8b" + b"\0x" * 50, "Content-Encoding: gzip"),
        "breaks off its answer, or garbles it",
    ),
    "reset": (faulty_servers.resetting, "does not answer"),
    "silent": (faulty_servers.silent, "does not answer"),
    "dripping": (faulty_servers.dripping(HEAD + b"\r\n{"), "has not answered for 3 s"),
    "dripping headers": (faulty_servers.dripping(HEAD + b"X-Long: "), "has not answered for 3 s"),
    **{name: (faulty_servers.saying(answer), "") for name, answer in NOT_HTTP.items()},
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(client, "DEADLINE", 3.0)
    monkeypatch.setattr(client, "RETRY", 0.01)


def _line(call: Callable[[], Any]) -> str:
    began = time.monotonic()
    with pytest.raises(EnvironmentNotReady) as caught:
        call()
    assert time.monotonic() - began < 30.0
    assert caught.value.exit_code == NOT_READY
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _open(uri: str, root: Path) -> Store:
    return store.open_store(projects.config(projects.OURS, f"tracking.uri={uri}"), root)


@pytest.mark.parametrize(("handler", "fault"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_of_mlflows_server(handler: Handler, fault: str, tmp_path: Path) -> None:
    with faulty_servers.serving(handler) as server:
        uri = f"http://{server.address}"
        line = _line(lambda: _open(uri, tmp_path))
        assert line.startswith(f"MLflow's server at {uri} {fault}")
        assert server.requests


def test_an_empty_answer_is_no_experiment(tmp_path: Path) -> None:
    with faulty_servers.serving(answering("200 OK", b"{}")) as server:
        line = _line(lambda: _open(f"http://{server.address}", tmp_path))
    assert "answers, but not as MLflow's server does" in line


@pytest.mark.parametrize(("handler", "fault"), [ANSWERS["401"], ANSWERS["503"], ANSWERS["cut"]])
def test_a_call_that_returns_pages_or_files(handler: Handler, fault: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with faulty_servers.serving(handler) as server:
        found = client.connect(f"http://{server.address}")
        for call in (
            lambda: found.search_runs(["1"]),
            lambda: found.get_run("1"),
            lambda: found.log_artifact("1", str(tmp_path / "file")),
            lambda: found.search_model_versions("name = 'x'"),
        ):
            assert fault in _line(call)


def test_what_mlflow_means_stays_as_it_is() -> None:
    from mlflow.exceptions import MlflowException

    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}'
    with faulty_servers.serving(answering("404 Not Found", body)) as server:
        found = client.connect(f"http://{server.address}")
        with pytest.raises(MlflowException, match="no such run"):
            found.get_run("1")


@contextmanager
def _postgres(root: Path) -> Iterator[tuple[FaultyProxy, Store]]:
    """A store on PostgreSQL, reached through a proxy."""
    with databases.fresh("answers") as address:
        parts = urlsplit(address)
        with faulty_proxy.proxying(parts.hostname or "", parts.port or 5432) as proxy:
            netloc = f"{parts.username}@{proxy.address}"
            client.DEADLINE = 120.0  # MLflow makes its tables
            opened = _open(parts._replace(netloc=netloc).geturl(), root)
            client.DEADLINE = 3.0
            yield proxy, opened


@databases.needed
def test_a_postgresql_server_that_fails_in_the_middle(tmp_path: Path) -> None:
    """One store for all faults, since making its tables takes seconds; after each, it works again."""
    with _postgres(tmp_path) as (proxy, opened):
        experiment = opened.experiment_id
        faults: tuple[Fault, ...] = ("cut", "garbage", "freeze", "refuse")
        for fault in faults:
            opened.client.search_runs([experiment])  # a connection stands
            proxy.set(fault)
            line = _line(lambda: opened.client.search_runs([experiment]))
            assert line.startswith(f"tracking.uri: the MLflow database {opened.uri} cannot be used: ") or (
                fault == "freeze" and line == f"tracking.uri: the MLflow database {opened.uri} has not answered for 3 s"
            ), line
            proxy.set("none")
            projects.until(lambda: bool(opened.client.get_experiment(experiment)), "the store", 30.0)
        with closing(psycopg2.connect(databases.SERVER)) as server:
            server.autocommit = True
            with server.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'hlynr_answ%'"
                )
        assert opened.client.get_experiment(experiment).name  # asked on a new connection


@databases.needed
def test_postgresql_without_the_database_or_the_role(tmp_path: Path) -> None:
    parts = urlsplit(databases.SERVER)
    missing = parts._replace(path="/hlynr_no_such").geturl()
    assert _line(lambda: _open(missing, tmp_path)).endswith('database "hlynr_no_such" does not exist')
    other = parts._replace(netloc=f"hlynr_nobody@{parts.hostname}:{parts.port or 5432}").geturl()
    assert "hlynr_nobody" in _line(lambda: _open(other, tmp_path))


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\0" * 100], ids=["nothing", "banner", "zeros"])
def test_what_is_no_postgresql_server(answer: bytes, tmp_path: Path) -> None:
    with faulty_servers.serving(faulty_servers.saying(answer)) as server:
        line = _line(lambda: _open(f"postgresql://someone@{server.address}/x", tmp_path))
    assert line.startswith(
        f"tracking.uri: the MLflow database postgresql://someone@{server.address}/x cannot be used: "
    )


def test_a_closed_port_is_found_at_once(tmp_path: Path) -> None:
    assert "Connection refused" in _line(lambda: _open("postgresql://someone@127.0.0.1:9/x", tmp_path))
    assert (
        _line(lambda: _open("http://127.0.0.1:9", tmp_path)) == "MLflow's server at http://127.0.0.1:9 does not answer"
    )


class _Lost(Exception):
    """Not of a store."""


@pytest.mark.parametrize(
    "message", ["database is locked", "disk I/O error", "file is not a database", "no such table: runs"]
)
def test_a_database_file_that_cannot_be_used(message: str) -> None:
    def search(*_: object) -> None:
        raise RuntimeError("wrapped") from sqlite3.OperationalError(message)

    found = client._NamingClient(SimpleNamespace(search=search, version=3), "sqlite:////p/mlflow.db")  # type: ignore[arg-type]
    assert _line(found.search) == f"tracking.uri: the MLflow database sqlite:////p/mlflow.db cannot be used: {message}"
    assert found.version == 3


@pytest.mark.parametrize("uri", ["sqlite:////p/mlflow.db", "http://127.0.0.1:9"])
def test_a_fault_of_the_program_stays_one(uri: str) -> None:
    def search() -> None:
        raise _Lost

    with pytest.raises(_Lost):
        client._NamingClient(SimpleNamespace(search=search), uri).search()  # type: ignore[arg-type]


def test_the_error_names_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        client.connect("http://user:secret@127.0.0.1:9").get_run("1")
    assert str(caught.value) == "MLflow's server at http://user@127.0.0.1:9 does not answer"


def test_a_store_on_postgresql_that_answers_noise_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg2 takes the noise for a message and cannot decode it."""

    def connect(*_: object, **__: object) -> None:
        raise UnicodeDecodeError("utf-8", b"\xd8", 0, 1, "invalid continuation byte")

    monkeypatch.setattr(psycopg2, "connect", connect)
    monkeypatch.setattr(client, "RETRY", 0.0)
    with pytest.raises(StoreUnavailableError, match="cannot be used"):
        client._require_postgres("postgresql://127.0.0.1:1/x")
