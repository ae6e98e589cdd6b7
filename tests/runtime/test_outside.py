"""What the errors of libraries say about what they asked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg2
import psycopg2.errors
import pytest
import requests
from support import faulty_servers
from support.faulty_servers import Handler, answering

from hlynr.runtime import outside
from hlynr.runtime.errors import as_user_error


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@example.org/x", "postgresql://me@example.org/x"),
        ("postgresql://me:sec@ret@example.org/x", "postgresql://me@example.org/x"),
        ("postgresql://me@example.org/x?password=secret", "postgresql://me@example.org/x"),
        ("http://example.org:5000", "http://example.org:5000"),
        ("sqlite:////p?x/mlflow.db", "sqlite:////p?x/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_secrets(address: str, shown: str) -> None:
    assert outside.masked(address) == shown


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (psycopg2.OperationalError("server closed the connection\n\tunexpectedly"), "server closed the connection une"),
        (psycopg2.errors.DiskFull("No space left on device"), "No space left on device"),
        (psycopg2.errors.AdminShutdown("terminating connection due to administrator command"), "terminating conn"),
        (psycopg2.errors.TooManyConnections("sorry, too many clients already"), "sorry, too many clients"),
        (psycopg2.errors.InsufficientPrivilege("permission denied for table runs"), "permission denied"),
        (psycopg2.InterfaceError("connection already closed"), "connection already closed"),
        (psycopg2.IntegrityError("duplicate key"), None),
        (psycopg2.DataError("invalid input syntax"), None),
    ],
)
def test_an_error_of_postgresql(error: Exception, fault: str | None) -> None:
    found = outside.database_fault(error)
    assert found is None if fault is None else str(found).startswith(fault)
    line = as_user_error(error)
    assert (line is None) == (fault is None)


def test_a_text_of_another_program_is_short_and_one_line() -> None:
    assert outside.brief("a\n\tb") == "a b"
    assert outside.brief(ValueError()) == "ValueError"
    assert len(outside.brief("x" * 10_000)) == outside.LONGEST


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (
            401,
            "answers 401: it asks for other credentials; PREFECT_API_AUTH_STRING must be as in "
            ".hlynr/prefect-auth-string on its machine",
        ),
        (
            403,
            "answers 403: it does not answer to the name in PREFECT_API_URL; service.allowed_hosts on its machine "
            "must have it",
        ),
        (404, "answers 404"),
        (503, "answers 503"),
    ],
)
def test_an_http_error_of_prefects_client(code: int, line: str) -> None:
    request = httpx.Request("POST", "http://user:secret@example.org:4200/api/flow_runs/")
    error = httpx.HTTPStatusError("x", request=request, response=httpx.Response(code))
    assert str(as_user_error(error)) == f"Prefect's server at http://example.org:4200 {line}"


@pytest.mark.parametrize(
    ("handler", "line"),
    [
        (answering("200 OK", b"<html>"), "answers, but not as Prefect's server does"),
        (
            answering("200 OK", b'{"id": 7}', "Content-Type: application/json"),
            "answers, but not as Prefect's server does",
        ),
        (answering("403 Forbidden", b"<html>"), "answers 403"),
    ],
    ids=["page", "other shape", "403"],
)
def test_what_is_no_answer_to_prefects_client(handler: Handler, line: str) -> None:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    with faulty_servers.serving(handler) as server:
        with (
            SyncPrefectClient(f"http://{server.address}/api") as client,
            pytest.raises((ValueError, httpx.HTTPError)) as caught,
        ):
            client.read_flow_run(UUID(int=0))
        found = as_user_error(caught.value)
    assert found is not None, repr(caught.value)
    assert line in str(found)


@pytest.mark.parametrize("error", [json.JSONDecodeError("x", "y", 0), ValueError("x"), KeyError("x")])
def test_a_fault_of_the_program_is_not_of_a_server(error: Any) -> None:
    assert outside.server_fault(error) is None
    assert as_user_error(error) is None


def test_an_error_of_an_upload() -> None:
    kind = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})
    error = kind('Could not connect to the endpoint URL: "http://127.0.0.1:9/bucket"')
    assert str(as_user_error(error)).startswith("the store of artifacts does not take or give files: Could not connect")


def test_where_a_failed_request_went() -> None:
    request = requests.Request("GET", "https://user:secret@example.org/x?token=secret").prepare()
    assert outside.server_of(requests.ConnectionError(request=request)) == "https://example.org"
    assert outside.server_of(httpx.ConnectError("x")) is None
