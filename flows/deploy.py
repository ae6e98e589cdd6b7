"""What a Prefect server must hold before workers can run retrainings: a second time changes nothing."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron

from flows.retrain import retrain
from flows.scheduling import SLOT
from flows.tune import deploy as deploy_tune
from hlynr.config import params
from hlynr.config.config import Config
from hlynr.runtime.errors import exit_code
from hlynr.service.components import HEARTBEAT
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import NIGHTLY, NO_HEARTBEAT
from hlynr.service.prefect_private import END_EVENTS, HEARTBEAT_EVENT

AUTOMATION = "hlynr: a run without a sign of life has crashed"
SILENCE = timedelta(seconds=3 * HEARTBEAT)


def deploy(config: Config, root: Path, params_file: str, overrides: list[str]) -> None:
    """Create or update pool, GPU slot, heartbeat automation, and the deployments of ``root``'s flows with the schedule.

    A retraining that was due while the machine was off stays queued; what another schedule had queued is deleted.
    """
    pool, schedule = config.service.pool, config.schedule
    deploy_tune(pool, str(root))
    with get_client(sync_client=True) as client:
        _limit(client, config.service.gpu_slots)
        before = _nightly(client)
        source = retrain.from_source(source=str(root), entrypoint="flows/retrain.py:retrain")
        source.deploy(  # type: ignore[union-attr]  # no coroutine, as this is synchronous
            name=NIGHTLY,
            work_pool_name=pool,
            schedules=[Cron(schedule.cron, timezone=schedule.timezone)] if schedule.cron else [],
            parameters={
                "root": str(root),
                "params_file": params_file,
                "overrides": overrides,
                "resume": True,
                "unattended": True,
            },
            description="Validate, train, version, evaluate, gate, promote: one retraining.",
            tags=["hlynr"],
            print_next_steps=False,
            ignore_warnings=True,
        )
        after = _nightly(client)
        if before and after and _schedules(before) != _schedules(after):
            _clear_queue(client, after)
    _automate()


def _limit(client: SyncPrefectClient, slots: int) -> None:
    try:
        client.update_global_concurrency_limit(SLOT, GlobalConcurrencyLimitUpdate(limit=slots))
    except ObjectNotFound:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=SLOT, limit=slots))


def _nightly(client: SyncPrefectClient) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{retrain.name}/{NIGHTLY}")
    except ObjectNotFound:
        return None


def _schedules(deployment: DeploymentResponse) -> list[tuple[str, str | None]]:
    found = [each.schedule for each in deployment.schedules]
    return [(each.cron, each.timezone) for each in found if isinstance(each, CronSchedule)]


def _clear_queue(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Delete what workers would still run: late runs, and all scheduled ones where no schedule is left."""
    chosen = {"deployment_id": {"any_": [str(deployment.id)]}, "state": {"type": {"any_": [StateType.SCHEDULED.value]}}}
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(chosen)):
        if run.auto_scheduled and (not _schedules(deployment) or run.state_name == "Late"):
            client.delete_flow_run(run.id)


def _automate() -> None:
    """Let the server mark runs without a heartbeat as crashed: those whose machine is lost."""
    trigger = EventTrigger(
        after={HEARTBEAT_EVENT},
        expect={HEARTBEAT_EVENT, *END_EVENTS},
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=SILENCE,
    )
    message = f"{NO_HEARTBEAT} {SILENCE.total_seconds():g} s."
    action = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    try:
        Automation.read(name=AUTOMATION)  # type: ignore[unused-coroutine]  # none, as this is synchronous
    except ValueError:
        Automation(name=AUTOMATION, trigger=trigger, actions=[action]).create()


def main(root: str, params_file: str) -> Config:
    """Deploy a project's flows under its configuration and the overrides of the last `hlynr up`."""
    overrides = ServicePaths(Path(root)).overrides()
    config = params.load(Path(root, params_file), overrides)
    deploy(config, Path(root), params_file, overrides)
    return config


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:])))
