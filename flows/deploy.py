"""What a Prefect server has to know before workers can take retrainings from it; the same again changes nothing."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron

from flows.retrain import retrain
from flows.scheduling import SLOT
from flows.tune import deploy as deploy_tune
from hlynr.config import params
from hlynr.config.config import Config
from hlynr.runtime.errors import as_user_error
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import NIGHTLY, SILENT

LOST = "hlynr: a run without a sign of life has crashed"
SILENCE = timedelta(seconds=90)
"""Three missing signs of life."""
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}


def deploy(config: Config, root: Path, params_file: str, overrides: list[str]) -> None:
    """Pool, GPU slot, the automation that finds lost runs, and the deployments of ``root``'s flows with the schedule.

    A retraining that came due while the machine was off stays in the queue; what another schedule had queued is removed.
    """
    pool = config.service.pool
    with get_client(sync_client=True) as client:
        _pool(client, pool)
        _slot(client, config.service.gpu_slots)
        schedule = _cron(config)
        before = _schedules(client)
        source = retrain.from_source(source=str(root), entrypoint="flows/retrain.py:retrain")
        source.deploy(  # type: ignore[union-attr]  # no coroutine, as this is synchronous
            name=NIGHTLY,
            work_pool_name=pool,
            schedules=[schedule] if schedule else [],
            parameters={
                "root": str(root),
                "params_file": params_file,
                "overrides": overrides,
                "resume": True,
                "unattended": True,
            },
            job_variables={"working_dir": str(root)},
            description="Validate, train, version, evaluate, gate, promote: one retraining.",
            tags=["hlynr"],
            print_next_steps=False,
            ignore_warnings=True,
        )
        if before is not None and before != _schedules(client):
            _clear_queue(client)
    deploy_tune(pool, str(root))
    _watch_heartbeats()


def _pool(client: SyncPrefectClient, name: str) -> None:
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process", description="Workers of the retraining."))


def _slot(client: SyncPrefectClient, slots: int) -> None:
    try:
        client.read_global_concurrency_limit_by_name(SLOT)
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=SLOT, limit=slots))
    else:
        client.update_global_concurrency_limit(SLOT, GlobalConcurrencyLimitUpdate(limit=slots))


def _cron(config: Config) -> Any:
    schedule = config.schedule
    return Cron(schedule.cron, timezone=schedule.timezone) if schedule.cron else None


def _schedules(client: SyncPrefectClient) -> list[tuple[str, str | None]] | None:
    """What is in force; None without a deployment."""
    try:
        found = client.read_deployment_by_name(f"{retrain.name}/{NIGHTLY}")
    except ObjectNotFound:
        return None
    return [
        (each.schedule.cron, each.schedule.timezone)
        for each in found.schedules
        if isinstance(each.schedule, CronSchedule)
    ]


def _clear_queue(client: SyncPrefectClient) -> None:
    """Late runs of a schedule that is gone would be executed all the same."""
    found = client.read_deployment_by_name(f"{retrain.name}/{NIGHTLY}")
    queued = {"deployment_id": {"any_": [str(found.id)]}, "state": {"type": {"any_": [StateType.SCHEDULED.value]}}}
    wanted = _schedules(client) or []
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(queued)):
        if run.auto_scheduled and (not wanted or run.state_name == "Late"):
            client.delete_flow_run(run.id)


def _watch_heartbeats() -> None:
    """The server ends runs whose machine was lost; a worker that lives tells of its runs' ends itself."""
    trigger = EventTrigger(
        after={HEARTBEAT},
        expect={HEARTBEAT, *ENDS},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    )
    message = f"{SILENT} {SILENCE.total_seconds():g} s."
    action = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    automation = Automation(name=LOST, trigger=trigger, actions=[action])
    try:
        Automation.read(name=LOST)  # type: ignore[unused-coroutine]  # none, as this is synchronous
    except ValueError:
        automation.create()


def main(arguments: list[str]) -> Config:
    """Deploy a project: its folder, name of the params file. What cannot be is one line and an exit code."""
    root, params_file = arguments
    try:
        overrides = json.loads(ServicePaths(Path(root)).overrides_file.read_text(encoding="utf-8"))
        config = params.load(Path(root, params_file), overrides)
        deploy(config, Path(root), params_file, overrides)
    except Exception as error:
        told = as_user_error(error)
        if told is None:
            raise
        print(f"hlynr: {told}", file=sys.stderr, flush=True)
        sys.exit(told.exit_code)
    return config


if __name__ == "__main__":
    main(sys.argv[1:])
