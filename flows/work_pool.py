"""The work pool, in which a run has no say about what a worker executes."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists

from hlynr.runtime.errors import InputError

# In Prefect's own template every run may give the command that its worker executes, the folder and the environment. In
# this one a run gives nothing: it is the worker's Python, in the worker's folder, with the worker's environment.
# "env" is left out, since Prefect merges what a run gives into one, whatever the variables are.
JOB_TEMPLATE: dict[str, Any] = {
    "job_configuration": {"working_dir": ".", "stream_output": True},
    "variables": {"type": "object", "properties": {}, "additionalProperties": False},
}


def create(client: SyncPrefectClient, name: str) -> None:
    """Create the pool, or give the one of an earlier version the present template.

    Raises:
        InputError: if it is a pool of another type than process.
    """
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=JOB_TEMPLATE))
    except ObjectAlreadyExists:
        if (kind := client.read_work_pool(name).type) != "process":
            raise InputError(f"service.pool: {name} is a work pool of the type {kind}, not process") from None
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=JOB_TEMPLATE))
