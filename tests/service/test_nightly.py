"""The daily use, end to end on real servers: the schedule fires, a retraining runs, the registry has its decision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import databases, projects, services
from support.services import Receiver, Service

from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import store
from hlynr.rl import bundle


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=databases.needed)])
def plain(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Iterator[Service]:
    """A service with short retrainings and no schedule yet, its stores in files or on PostgreSQL."""
    overrides = ["schedule.cron=null"]
    with ExitStack() as stack:
        if request.param == "postgresql":
            prefect, mlflow = (stack.enter_context(databases.fresh(name)) for name in ("prefect", "mlflow"))
            overrides += [f"service.database={prefect}", f"tracking.uri={mlflow}"]
        root = tmp_path / "project"
        yield stack.enter_context(services.running(root, *overrides, HLYNR_WEBHOOK=receiver.url))


def test_the_schedule_fires_and_the_retraining_ends_in_a_decision(plain: Service, receiver: Receiver) -> None:
    minute = (datetime.now(UTC) + timedelta(seconds=100)).minute  # hlynr up takes half a minute on a busy machine
    again = projects.run(plain.root, "hlynr", "up", "--set", f'schedule.cron="{minute} * * * *"', **plain.environment)
    assert again.returncode == 0, again.stderr
    assert "is up already" in again.stderr
    assert plain.status().schedule == f"{minute} * * * * (UTC)"
    projects.until(lambda: bool(plain.retrainings()), "the schedule", 180.0)
    (first,) = plain.retrainings()
    assert plain.ended(first)["state_name"] == "Completed"
    status = plain.status()
    assert status.healthy
    assert status.next_run is not None
    (retraining,) = status.runs
    opened = store.open_store(plain.project.config, plain.root)
    (entry,) = journal.history(opened)
    assert retraining.verdict == entry.reason
    assert status.champion == entry
    champion = versions.champion(opened)
    assert champion is not None
    run = opened.client.get_run(str(champion.run_id))
    assert run.data.tags["hlynr.lineage.flow_run_id"] == first
    fetched = versions.fetch_bundle(opened, champion.version, plain.root / "fetched")
    assert bundle.digest(fetched) == champion.bundle_sha256
    projects.until(lambda: receiver.kinds(first) == ["promoted"], "the alert", 30.0)
    assert "version 1 is champion" in (plain.root / ".hlynr/alerts.log").read_text()
    logs = "".join(plain.log(name) for name in ("service", "prefect", "mlflow", "worker"))
    assert "Traceback" not in logs
    assert projects.open_to_others(plain.root, ".hlynr", "mlruns", "outputs") == {}
    assert projects.open_to_others(plain.root, ".dvc/cache") != {}  # DVC's have the user's modes


def test_missed_retrainings_run_once_and_without_a_schedule_not_at_all(service: Service) -> None:
    """Two retrainings were due while the worker was off: the newest runs. Then the schedule goes with its late runs."""
    service.up("--set", 'schedule.cron="0 2 * * *"')
    assert service.status().next_run is not None
    deployment = service.get("/deployments/name/retrain/nightly")["id"]
    due = [datetime.now(UTC).replace(microsecond=0) - timedelta(days=days) for days in (2, 1)]
    service.process("worker").suspend()
    try:
        runs = [service.due(deployment, when, *services.SHORT) for when in due]
    finally:
        service.process("worker").resume()
    missed, newest = (service.ended(run) for run in runs)
    assert missed["state_name"] == "Missed"
    assert missed["state"]["message"] == f"Superseded by the retraining of {due[-1]:%Y-%m-%d %H:%M} UTC."
    assert newest["state_name"] == "Completed", newest["state"]["message"]

    service.process("worker").suspend()
    try:
        late = service.due(deployment, datetime.now(UTC) - timedelta(hours=1))
        projects.until(lambda: service.run(late)["state_name"] == "Late", "lateness", 60.0)
        service.up()
    finally:
        service.process("worker").resume()
    waiting = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert service.post("/flow_runs/filter", waiting) == []
    assert service.status().next_run is None
