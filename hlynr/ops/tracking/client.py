"""MLflow's client, of which every call returns, fails as MLflow means it, or ends as one line that names the store."""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hlynr.runtime import outside
from hlynr.runtime.errors import EnvironmentNotReady, as_user_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

DEADLINE = 90.0
"""[s] for one call of a store on another machine or behind a server, with all that MLflow repeats."""
TRIES, RETRY = 3, 3.0
"""Attempts to reach PostgreSQL, and [s] between them: it may be restarting."""
NOT_MLFLOW = "answers, but not as MLflow's server does"
_HTTP = ("http://", "https://")
_POSTGRES = re.compile(r"postgres(ql)?(\+\w+)?://")
_NO_MEANING = (ValueError, TypeError, KeyError, AttributeError, IndexError)
"""What MLflow's client raises while it reads an answer of another shape."""


class StoreUnavailableError(EnvironmentNotReady):
    """The store of tracking.uri does not answer, or with something else than was asked for."""


def connect(uri: str) -> MlflowClient:
    """A client of the store, for tracking and registry.

    Raises:
        StoreUnavailableError: if it is a database that cannot be reached; likewise each call of the client.
    """
    from mlflow import MlflowClient

    if _POSTGRES.match(uri):
        _require_postgres(uri)
    plain = answered(uri, lambda: MlflowClient(tracking_uri=uri, registry_uri=uri))
    return cast("MlflowClient", _NamingClient(plain, uri))


class _NamingClient:
    """Passes everything on to MLflow's client; an error of the store's comes back with the store's name."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            return answered(self._uri, lambda: found(*arguments, **named))

        return call


def answered(uri: str, call: Callable[[], T]) -> T:
    """The result of a call that asks the store at ``uri``; raises `StoreUnavailableError` as the client does."""
    try:
        return call() if uri.startswith("sqlite:") else _within(DEADLINE, call)
    except FutureTimeout:
        raise StoreUnavailableError(f"{described(uri)} has not answered for {DEADLINE:g} s") from None
    except Exception as error:
        fault = _fault(uri, error)
        if fault is None:
            raise
        raise StoreUnavailableError(fault) from error


def _within(deadline: float, call: Callable[[], T]) -> T:
    """The call's result, from a thread that is left behind where it takes longer: no library here has a deadline."""
    outcome: Future[T] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(call))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, name="hlynr-mlflow", daemon=True).start()
    return outcome.result(deadline)


def _fault(uri: str, error: Exception) -> str | None:
    """The line for an error that the store, not the call, is the reason of."""
    if getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"):
        return None
    if database := outside.first(error, outside.database_fault):
        return f"{described(uri)} cannot be used: {database}"
    if answer := _answer_fault(uri, error):
        return f"{described(uri)} {answer}"
    if isinstance(error, OSError) or (known := as_user_error(error)) is None:
        return None
    return str(known)


def _answer_fault(uri: str, error: Exception) -> str | None:
    from mlflow.exceptions import MlflowException

    if fault := outside.first(error, outside.server_fault):
        return fault
    if not uri.startswith(_HTTP):
        return None
    if isinstance(error, MlflowException):
        return _mlflow_fault(error)
    unreadable = isinstance(error, _NO_MEANING) or outside.of_library(error, "google")
    return NOT_MLFLOW if unreadable else None


def _mlflow_fault(error: Any) -> str | None:
    """Of an answer that is no decision of MLflow's server about the request."""
    text = str(error)
    if status := re.search(r"failed with error code (\d{3}) != ", text):  # without JSON: a proxy, a login page
        return outside.status_fault(int(status[1]))
    if "not in a valid JSON format" in text:
        return NOT_MLFLOW
    if text.startswith("API request to "):  # mlflow.utils.rest_utils.http_request: whatever was raised there
        return "does not answer"
    code = error.get_http_status_code()
    if code in (401, 403):
        return outside.status_fault(code)
    return f"answers {code}: {outside.brief(text)}" if code == 429 or code >= 500 else None


def described(uri: str) -> str:
    """The store as messages name it, without credentials."""
    where = outside.masked(uri)
    return f"MLflow's server at {where}" if uri.startswith(_HTTP) else f"tracking.uri: the MLflow database {where}"


def _require_postgres(uri: str) -> None:
    """MLflow itself tries for 100 s, and prints each attempt's traceback."""
    import psycopg2

    address = _POSTGRES.sub("postgresql://", uri, count=1)
    for attempt in range(TRIES):
        try:
            psycopg2.connect(address, connect_timeout=10).close()
            return
        except (psycopg2.Error, UnicodeDecodeError) as error:  # the latter for an answer of noise
            fault: Exception = error
        if attempt < TRIES - 1:
            time.sleep(RETRY)
    raise StoreUnavailableError(f"{described(uri)} cannot be used: {outside.brief(fault)}") from fault
