"""What `hlynr up` and prefect.yaml deploy, and that prefect.yaml and compose.yaml agree with params.yaml."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from ruamel.yaml import YAML
from support import projects

from flows import deploy, tune
from flows.retrain import retrain
from flows.scheduling import SLOT
from hlynr.cli import app
from hlynr.config.project import Project
from hlynr.ops.tracking import server
from hlynr.runtime import environment
from hlynr.service import prefect_server
from hlynr.service.prefect_api import AUTH, NIGHTLY
from hlynr.service.prefect_private import SERVER_AUTH

PREFECT = Path(sys.executable).with_name("prefect")
FILE: dict[str, Any] = YAML(typ="safe").load((projects.OURS / "prefect.yaml").read_text())
DATABASE = "postgresql://hlynr@postgres/prefect"
COMPOSE: dict[str, Any] = YAML(typ="safe").load((projects.OURS / "compose.yaml").read_text())
CONFIG = projects.config(projects.OURS)
PORTS = (CONFIG.service.prefect_port, CONFIG.service.mlflow_port)


def _deployed() -> dict[str, tuple[Any, ...]]:
    """Pool, entry point, schedules and parameters of the server's deployments by name."""
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
        return {
            each.name: (
                each.work_pool_name,
                each.entrypoint,
                [(entry.schedule.cron, entry.schedule.timezone) for entry in each.schedules],
                {key: value for key, value in each.parameters.items() if key != "root"},
            )
            for each in found
        }


def test_prefect_yaml_deploys_what_hlynr_up_deploys(api: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project")
    deploy.deploy(projects.config(root), root, "params.yaml", [])
    by_hlynr = _deployed()
    schedule = CONFIG.schedule
    assert by_hlynr["nightly"][2] == [(schedule.cron, schedule.timezone)]
    with get_client(sync_client=True) as client:
        for each in client.read_deployments():
            client.delete_deployment(each.id)
    projects.checked(
        root, str(PREFECT), "--no-prompt", "deploy", "--all", PREFECT_API_URL=api, PREFECT_HOME=str(tmp_path / "home")
    )
    assert _deployed() == by_hlynr


def test_pool_slot_and_automation_are_created_once(api: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project", "service.gpu_slots=2")
    for _ in range(2):
        deploy.deploy(projects.config(root), root, "params.yaml", [])
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(SLOT).limit == 2
        (automation,) = client.read_automations_by_name(deploy.AUTOMATION)
        assert client.read_work_pool("hlynr").type == "process"
    assert automation.enabled
    assert automation.trigger.within.total_seconds() == 90
    assert automation.actions[0].type == "change-flow-run-state"


@pytest.mark.parametrize("described", FILE["deployments"], ids=lambda each: each["name"])
def test_prefect_yaml_names_flows_parameters_and_pool(described: dict[str, Any]) -> None:
    flow = {"flows/retrain.py:retrain": retrain, "flows/tune.py:tune_worker": tune.tune_worker}[described["entrypoint"]]
    assert described.get("parameters", {}).keys() <= inspect.signature(flow.fn).parameters.keys()
    assert described["work_pool"]["name"] == CONFIG.service.pool


def test_compose_uses_options_that_exist() -> None:
    services = COMPOSE["services"]
    assert services.keys() == {"postgres", "prefect", "mlflow", "worker"}
    verb, *options = services["worker"]["command"][1:]
    assert verb in {command.callback.__name__ for command in app.app.registered_commands if command.callback}
    changes = [option.removeprefix("--set=") for option in options]
    config = projects.config(projects.OURS, *changes)
    assert config.tracking.uri.startswith("http://mlflow:5000")
    created = COMPOSE["configs"]["databases"]["content"]
    for database in ("prefect", "mlflow", "optuna"):
        assert f"CREATE DATABASE {database};" in created
        assert f"/{database}" in json.dumps(services)


def test_prefect_yaml_has_schedule_and_version_of_the_project() -> None:
    nightly = next(each for each in FILE["deployments"] if each["name"] == NIGHTLY)
    assert nightly["schedules"] == [CONFIG.schedule.model_dump()]
    assert f"prefect=={FILE['prefect-version']}" in (projects.OURS / "constraints.txt").read_text().split()


def test_compose_runs_the_servers_of_hlynr_up() -> None:
    """With the same environment and ports, but for the databases."""
    inside = Project(Path("/project"), projects.config(projects.OURS, f"service.database={DATABASE}"))
    wanted = prefect_server.environment(inside) | prefect_server.service_environment(inside)
    wanted |= environment.fixed("PREFECT_", "DO_NOT_TRACK")
    prefect, mlflow = COMPOSE["services"]["prefect"], COMPOSE["services"]["mlflow"]
    assert {name: prefect["environment"].get(name) for name in wanted} == wanted
    for module, port, service in ((prefect_server, PORTS[0], "prefect"), (server, PORTS[1], "mlflow")):
        command = module.command("0.0.0.0", port, [service])[1:]
        assert COMPOSE["services"][service]["command"] == ["python", *command]
    wanted = environment.fixed("MLFLOW_SERVER_", "MLFLOW_DISABLE_", "DO_NOT_TRACK")
    assert {name: mlflow["environment"].get(name) for name in wanted} == wanted
    assert server.environment(inside.config, inside.root).keys() - mlflow["environment"].keys() == set()
    assert prefect["ports"] + mlflow["ports"] == [f"127.0.0.1:{port}:{port}" for port in PORTS]


def test_compose_gives_the_worker_the_servers_authentication_string() -> None:
    string = COMPOSE["services"]["prefect"]["environment"][SERVER_AUTH]
    assert string.startswith("${PREFECT_AUTH_STRING:?")
    assert COMPOSE["services"]["worker"]["environment"][AUTH] == string


def test_compose_holds_no_password_and_listens_on_localhost() -> None:
    text = (projects.OURS / "compose.yaml").read_text()
    assert all("${POSTGRES_PASSWORD:?" in line for line in text.splitlines() if "PASSWORD:" in line)
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text)
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
