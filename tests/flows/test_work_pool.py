"""A run has no say about the command, the folder or the environment of its process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows import tune, work_pool
from hlynr.runtime.errors import InputError

CHOSEN: tuple[dict[str, Any], ...] = (
    {"command": "touch /tmp/executed"},
    {"env": {"PYTHONPATH": "/tmp/elsewhere"}},
    {"env.PYTHONPATH": "/tmp/elsewhere"},
    {"working_dir": "/tmp"},
    {"name": "{{ command }}"},
    {"anything": 1},
)


@pytest.mark.parametrize("variables", CHOSEN, ids=str)
def test_a_worker_takes_nothing_from_a_run(api: str, variables: dict[str, Any]) -> None:
    """Whatever the server lets through: it checks no run that is created without a deployment's help."""

    async def made(values: dict[str, Any]) -> ProcessJobConfiguration:
        return await ProcessJobConfiguration.from_template_and_values(work_pool.JOB_TEMPLATE, values)

    assert asyncio.run(made(variables)) == asyncio.run(made({}))
    assert asyncio.run(made(variables)).command is None


def test_a_pool_of_an_earlier_version_is_changed(api: str) -> None:
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        assert "command" in template["variables"]["properties"]
        client.create_work_pool(WorkPoolCreate(name="earlier", type="process", base_job_template=template))
        tune.deploy("earlier")
        assert client.read_work_pool("earlier").base_job_template == work_pool.JOB_TEMPLATE
        deployment = client.read_deployment_by_name(tune.DEPLOYMENT)
        for variables in CHOSEN:
            with pytest.raises(PrefectHTTPStatusError, match="422"):
                client.create_flow_run_from_deployment(deployment.id, job_variables=variables)
        client.create_flow_run_from_deployment(deployment.id)


def test_a_pool_of_another_type_is_rejected(api: str) -> None:
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="containers", type="docker", base_job_template={}))
        with pytest.raises(InputError, match=r"^service.pool: containers is a work pool of the type docker"):
            work_pool.create(client, "containers")
