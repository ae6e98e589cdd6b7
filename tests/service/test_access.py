"""Who may use the running servers: no page of another origin, no client without the string; and where the string is."""

from __future__ import annotations

import asyncio
import json
import re
import stat
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import psutil
import pytest
from support import projects, services
from support.services import Service
from websockets import InvalidStatus, connect
from websockets.exceptions import ConnectionClosed

from hlynr.records.service import ServiceState
from hlynr.service import prefect_auth
from hlynr.service.paths import ServicePaths

EVIL = "evil.example.org"
ANSWERED = {"prefect": "/api/health", "mlflow": "/api/2.0/mlflow/experiments/search?max_results=1"}


@pytest.mark.parametrize("name", ANSWERED)
def test_a_server_answers_no_foreign_page(service: Service, name: str) -> None:
    url = f"{service.component(name).url}{ANSWERED[name]}"
    assert services.status_of(url) == 200
    assert services.status_of(url, Host=EVIL) == 403
    assert services.status_of(url, Host=EVIL, Origin=f"http://{EVIL}") == 403
    for method in ("GET", "POST", "OPTIONS"):
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        assert services.status_of(url, method, Origin=f"http://{EVIL}", **asked) == 403
        assert services.status_of(url, method, Origin="null") == 403


@pytest.mark.parametrize("path", ["/admin/version", "/flow_runs/count", "/health/../admin/version", "/blocks/x/health"])
def test_prefect_asks_for_the_string(service: Service, path: str) -> None:
    url = f"{service.api.url}{path}"
    basic = service.api.headers["Authorization"]
    for headers in ({}, {"Authorization": "Basic aGx5bnI6"}, {"Authorization": basic.replace("Basic", "Bearer")}):
        assert services.status_of(url, **headers) == 401
    assert services.status_of(f"{service.api.url}/admin/version", Authorization=basic) == 200


@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_websockets_are_closed_to_foreign_pages_and_without_the_string(service: Service, path: str) -> None:
    async def asked(host: str | None, origin: str | None, token: str) -> str:
        server = urlsplit(service.api.url)
        url = f"ws://{host or server.netloc}/api{path}"
        to = {"host": server.hostname, "port": server.port}
        async with connect(url, origin=origin, subprotocols=["prefect"], **to) as socket:  # type: ignore[arg-type]
            await socket.send(json.dumps({"type": "auth", "token": token}))
            return str(json.loads(await socket.recv())["type"])

    string = str(service.api.auth_string)
    assert asyncio.run(asked(None, None, string)) == "auth_success"
    with pytest.raises(ConnectionClosed):
        asyncio.run(asked(None, None, "another"))
    for host, origin in ((None, f"http://{EVIL}"), (EVIL, None), (EVIL, f"http://{EVIL}"), (None, "null")):
        with pytest.raises(InvalidStatus, match="403"):
            asyncio.run(asked(host, origin, string))


def test_no_run_and_no_deployment_has_a_command_executed(service: Service, tmp_path: Path) -> None:
    """Neither where Prefect validates what a run gives nor where it does not: a run that is created by itself."""
    executed = tmp_path / "executed"
    command = {"command": f"touch {executed}", "env": {"PYTHONPATH": str(tmp_path)}, "working_dir": str(tmp_path)}
    nightly = service.get("/deployments/name/retrain/nightly")
    for name, value in command.items():
        with pytest.raises(HTTPError, match="422"):
            service.post(f"/deployments/{nightly['id']}/create_flow_run", {"job_variables": {name: value}})
    state = {"type": "SCHEDULED", "state_details": {}}
    run = service.post(
        "/flow_runs/",
        {
            "flow_id": nightly["flow_id"],
            "deployment_id": nightly["id"],
            "work_pool_name": nightly["work_pool_name"],
            "parameters": nightly["parameters"],
            "job_variables": command,
            "state": state,
        },
    )
    flow, _ = service.training(run["id"])
    assert flow.cwd() == str(service.root)
    assert str(tmp_path) not in flow.environ().get("PYTHONPATH", "")
    service.cancel(run["id"])
    service.ended(run["id"])
    assert not executed.exists()


def test_the_string_is_in_one_file_and_on_no_command_line(service: Service) -> None:
    string = str(service.api.auth_string).partition(":")[2]
    assert re.fullmatch(r"[\w-]{40,}", string)
    file = ServicePaths(service.root).auth_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = [path for path in service.root.rglob("*") if path.is_file() and string.encode() in path.read_bytes()]
    assert found == [file]
    assert not [each.pid for each in psutil.process_iter() if any(string in part for part in _command_line(each))]
    assert string not in projects.run(service.root, "hlynr", "status", "--json", "-").stdout
    assert projects.run(service.root, "git", "check-ignore", "--quiet", str(file)).returncode == 0


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_string_stays_the_same_and_its_file_private(tmp_path: Path) -> None:
    file = ServicePaths(tmp_path).auth_file
    first = prefect_auth.auth_string(tmp_path)
    file.chmod(0o644)
    assert prefect_auth.auth_string(tmp_path) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("\n")  # killed while it was written
    assert prefect_auth.auth_string(tmp_path) not in ("", first)
    file.write_text("me:my own\n")
    assert prefect_auth.auth_string(tmp_path) == "me:my own"


def test_a_server_elsewhere_never_sees_the_projects_string(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefect_auth.auth_string(tmp_path)
    prefect = service.component("prefect").model_copy(update={"state": "not answering", "pid": None, "log": None})
    state: ServiceState = service.state.model_copy(update={"components": (prefect,)})
    assert prefect_auth.of_service(tmp_path, state).auth_string is None
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "theirs")
    assert prefect_auth.of_service(tmp_path, state).auth_string == "theirs"
    assert prefect_auth.of_service(tmp_path, service.state).auth_string == prefect_auth.auth_string(tmp_path)
    assert "theirs" not in repr(prefect_auth.of_service(tmp_path, state))


def test_a_wrong_string_is_one_line(service: Service) -> None:
    given = {"PREFECT_API_URL": f"{service.api.url}/", "PREFECT_API_AUTH_STRING": "hlynr:wrong"}
    done = projects.run(service.root, "hlynr", "retrain", **given)
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "answers 401: it asks for other credentials" in done.stderr
    assert "PREFECT_API_AUTH_STRING must be as in" in done.stderr
