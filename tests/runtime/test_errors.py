"""Which errors of libraries a user can remove the cause of, and the line that names it.

What has no class is recognised by its message: those tests fail where a library words it differently.
"""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy
from support import projects

from hlynr.runtime.errors import (
    BAD_INPUT,
    DONE,
    NOT_READY,
    EnvironmentNotReady,
    InputError,
    TrainingError,
    as_user_error,
    exit_code,
)


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    pytest.fail("it raised nothing")


def line(call: Callable[[], Any]) -> str | None:
    found = as_user_error(raised(call))
    assert found is None or type(found) is EnvironmentNotReady
    return None if found is None else str(found)


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> None:
        raise error

    return call


def test_a_user_error_stays_what_it_is() -> None:
    for error in (InputError("x: is wrong"), TrainingError("no policy"), EnvironmentNotReady("no GPU")):
        assert as_user_error(error) is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE])
def test_errors_of_the_operating_system(number: int) -> None:
    assert line(raising(OSError(number, os.strerror(number), "x.pt"))) == f"x.pt: {os.strerror(number)}"
    assert line(raising(OSError(number, os.strerror(number)))) == os.strerror(number)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "x"), KeyError("x"), ValueError("x"), sqlite3.IntegrityError("x")]
)
def test_a_fault_of_the_program_is_none_of_the_users(error: Exception) -> None:
    assert line(raising(error)) is None


def test_the_cause_of_an_error_counts_too() -> None:
    def chained() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "x.pt")
        except OSError as error:
            raise RuntimeError("the writer failed") from error

    assert line(chained) == "x.pt: No space left on device"


def test_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"nothing of the kind" * 100)
    found = line(lambda: sqlite3.connect(file).execute("SELECT * FROM runs"))
    assert found == "a database cannot be used: file is not a database"


def test_a_server_that_does_not_answer() -> None:
    assert line(raising(ConnectionRefusedError(111, "Connection refused"))) == (
        "a server does not answer: [Errno 111] Connection refused"
    )


@pytest.mark.parametrize("kind", [requests.ConnectTimeout, requests.ReadTimeout, requests.exceptions.RetryError])
def test_mlflows_server_is_named_without_credentials(kind: type[requests.RequestException]) -> None:
    request = requests.Request("GET", "http://user:secret@example.org:5000/api/2.0/mlflow").prepare()
    error = kind("timed out", request=request)
    assert line(raising(error)) == "MLflow's server at http://example.org:5000 does not answer"
    assert line(raising(kind("timed out"))) == "MLflow's server does not answer"


def test_an_answer_of_mlflows_server_is_an_answer() -> None:
    assert line(raising(requests.HTTPError("404 Client Error"))) is None


def test_mlflows_client_without_its_server() -> None:
    script = """
import sys
from mlflow import MlflowClient
from hlynr.runtime.errors import as_user_error
try:
    MlflowClient(sys.argv[1], sys.argv[1]).search_experiments()
except Exception as error:
    print(as_user_error(error))
"""
    url = "http://127.0.0.1:9"
    environment = projects.environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_DISABLE_TELEMETRY="true")
    done = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    assert done.stdout.strip() == f"MLflow's server at {url} does not answer", f"mlflow {version('mlflow')}"


def test_mlflows_message_for_a_database_of_another_version() -> None:
    from mlflow.store.db.utils import _verify_schema

    found = line(lambda: _verify_schema(sqlalchemy.create_engine("sqlite://")))
    assert found is not None, f"mlflow {version('mlflow')} words it otherwise"
    assert found.endswith("run mlflow db upgrade on it")


def test_prefects_message_for_a_server_that_does_not_answer() -> None:
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient("http://127.0.0.1:9/api") as client:
        found = line(client.raise_for_api_version_mismatch)
    assert found is not None, f"prefect {version('prefect')} words it otherwise"
    assert found.startswith("the Prefect server of PREFECT_API_URL does not answer")


def test_a_full_disk_that_a_library_reports_in_words(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").touch()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")

    assert line(lambda: shutil.copytree(tmp_path / "from", tmp_path / "to", copy_function=full)) == (
        "No space left on device"
    )
    assert line(raising(RuntimeError("I/O error: No space left on device (os error 28)"))) == "No space left on device"


def test_the_exit_code_of_an_entry_point(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: None) == DONE
    assert exit_code(raising(InputError("a: is wrong\nb: too"))) == BAD_INPUT
    assert exit_code(raising(OSError(errno.ENOSPC, "No space left on device"))) == NOT_READY
    assert capsys.readouterr().err.splitlines() == [
        "hlynr: a: is wrong",
        "hlynr: b: too",
        "hlynr: No space left on device",
    ]
    with pytest.raises(KeyError):
        exit_code(raising(KeyError("a fault of the program")))
