"""What a Prefect server is told: by `hlynr up`, and by prefect.yaml; and that compose.yaml asks for what there is."""

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

PREFECT = Path(sys.executable).with_name("prefect")
FILE: dict[str, Any] = YAML(typ="safe").load((projects.OURS / "prefect.yaml").read_text())
COMPOSE: dict[str, Any] = YAML(typ="safe").load((projects.OURS / "compose.yaml").read_text())


def _told() -> dict[str, tuple[Any, ...]]:
    """The deployments the server has of our flows: where they are run, what, when, with what."""
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


def test_prefect_yaml_tells_what_hlynr_up_tells(api: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project")
    deploy.deploy(projects.config(root), root, "params.yaml", [])
    by_hlynr = _told()
    assert by_hlynr["nightly"][2] == [("0 2 * * *", "UTC")]
    with get_client(sync_client=True) as client:
        for each in client.read_deployments():
            client.delete_deployment(each.id)
    projects.checked(
        root, str(PREFECT), "--no-prompt", "deploy", "--all", PREFECT_API_URL=api, PREFECT_HOME=str(tmp_path / "home")
    )
    assert _told() == by_hlynr


def test_pool_slot_and_automation_are_there_once(api: str, tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project", "service.gpu_slots=2")
    for _ in range(2):
        deploy.deploy(projects.config(root), root, "params.yaml", [])
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(SLOT).limit == 2
        (automation,) = client.read_automations_by_name(deploy.LOST)
        assert client.read_work_pool("hlynr").type == "process"
    assert automation.enabled
    assert automation.trigger.within.total_seconds() == 90
    assert automation.actions[0].type == "change-flow-run-state"


@pytest.mark.parametrize("described", FILE["deployments"], ids=lambda each: each["name"])
def test_prefect_yaml_names_what_there_is(described: dict[str, Any]) -> None:
    flow = {"flows/retrain.py:retrain": retrain, "flows/tune.py:tune_worker": tune.tune_worker}[described["entrypoint"]]
    assert described.get("parameters", {}).keys() <= inspect.signature(flow.fn).parameters.keys()
    assert described["work_pool"]["name"] == projects.config(projects.OURS).service.pool


def test_compose_asks_for_options_that_there_are() -> None:
    services = COMPOSE["services"]
    assert services.keys() == {"postgres", "prefect", "mlflow", "worker"}
    python, module, *_ = services["prefect"]["command"][1:]
    assert (python, module) == ("-m", "hlynr.service.prefect_server")
    help_of_mlflow = projects.checked(projects.OURS, sys.executable, "-m", "mlflow", "server", "--help")
    used = [word.partition("=")[0] for word in services["mlflow"]["command"] if word.startswith("--")]
    assert used
    assert all(re.search(rf"{option}\b", help_of_mlflow) for option in used)
    verb, *options = services["worker"]["command"][1:]
    assert verb in {command.callback.__name__ for command in app.app.registered_commands if command.callback}
    changes = [option.removeprefix("--set=") for option in options]
    config = projects.config(projects.OURS, *changes)
    assert config.tracking.uri.startswith("http://mlflow:5000")
    created = COMPOSE["configs"]["databases"]["content"]
    for database in ("prefect", "mlflow", "optuna"):
        assert f"CREATE DATABASE {database};" in created
        assert f"/{database}" in json.dumps(services)


def test_compose_keeps_no_password_and_opens_nothing_to_the_network() -> None:
    text = (projects.OURS / "compose.yaml").read_text()
    assert all("${POSTGRES_PASSWORD:?" in line for line in text.splitlines() if "PASSWORD:" in line)
    assert not re.search(r"://[^/@\s]*:[^/@\s]*@", text)
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
