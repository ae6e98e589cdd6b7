"""What Prefect's server may answer: whatever it is not, is one line, within the time for an answer."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import faulty_servers, projects
from support.faulty_servers import HEAD, NOT_HTTP, answering

from hlynr.config.project import Project
from hlynr.runtime.errors import NOT_READY
from hlynr.service import prefect_api
from hlynr.service.lost_runs import LostRuns
from hlynr.service.prefect_api import PrefectApi, PrefectUnavailableError

RUN: dict[str, Any] = {
    "id": "7",
    "name": "swift-fox",
    "state": {"timestamp": "2026-11-28T02:00:00Z", "message": None},
    "state_name": "Running",
    "start_time": "2026-11-28T02:00:00Z",
    "expected_start_time": None,
    "end_time": None,
    "more": "of what later versions say",
}
UNREADABLE = {
    "login page": answering("200 OK", b"<html>Sign in</html>"),
    "nothing": answering("200 OK"),
    "null": answering("200 OK", b"null"),
    "object": answering("200 OK", b"{}"),
    "of other things": answering("200 OK", b"[1, 2]"),
    "without a state": answering("200 OK", json.dumps([RUN | {"state": None}]).encode()),
    "at no time": answering("200 OK", json.dumps([RUN | {"start_time": "yesterday"}]).encode()),
    "gzip": answering("200 OK", b"\x1f\x8b" + b"\0" * 50, "Content-Encoding: gzip"),
    "cut": faulty_servers.saying(HEAD + b"Content-Length: 1000\r\n\r\n[{"),
    "redirect": answering("302 Found", b"", "Location: http://example.org/login"),
    **{f"status {code}": answering(f"{code} X", b"<html>") for code in (401, 403, 404, 429, 500, 502, 503)},
    **{name: faulty_servers.saying(answer) for name, answer in NOT_HTTP.items()},
    "reset": faulty_servers.resetting,
}


@pytest.mark.parametrize("handler", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_answer_of_prefect_is_one_line(handler: faulty_servers.Handler, tmp_path: Path) -> None:
    with faulty_servers.serving(handler) as server:
        api = PrefectApi(f"http://{server.address}/api")
        with pytest.raises(PrefectUnavailableError) as caught:
            api.retrainings(5)
        assert f"http://{server.address}/api" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == NOT_READY
        with pytest.raises(PrefectUnavailableError):
            api.schedules()
        assert not api.healthy()
        assert not api.worker_online("pool", "worker")
        project = Project(tmp_path, projects.config(projects.OURS))
        assert LostRuns(project, api, "worker", own_server=True).check() == []


def test_a_whole_answer_is_read() -> None:
    with faulty_servers.serving(answering("200 OK", json.dumps([RUN]).encode())) as server:
        (run,) = PrefectApi(f"http://{server.address}/api").crashed(datetime.now(UTC))
        assert run["name"] == "swift-fox"
    with faulty_servers.serving(answering("200 OK", b"true")) as server:
        assert PrefectApi(f"http://{server.address}/api").healthy()


@pytest.mark.parametrize(
    "handler",
    [
        faulty_servers.silent,
        faulty_servers.endless,
        faulty_servers.dripping(b"HTTP/1.1 2", b"0"),
        faulty_servers.dripping(HEAD + b"\r\n["),
    ],
    ids=["silent", "endless", "headers", "body"],
)
def test_a_slow_or_endless_answer_ends_at_the_deadline(
    handler: faulty_servers.Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_api, "TIMEOUT", 0.5)
    with faulty_servers.serving(handler) as server:
        began = time.monotonic()
        with pytest.raises(PrefectUnavailableError):
            PrefectApi(f"http://{server.address}/api").retrainings(5)
        assert not prefect_api.answers(f"http://{server.address}/health", b"OK", 0.5)
        assert time.monotonic() - began < 20.0
