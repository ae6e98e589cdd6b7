"""The search as Prefect flows: led by one, worked on by runs of a deployment that a work pool's worker takes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter
from support import projects, searches

from flows.tune import deploy, tune
from hlynr.records.tuning import FINISHED
from hlynr.runtime.errors import InputError

POOL = "tuners"


@pytest.fixture
def pool(api: str, tmp_path: Path) -> Iterator[Path]:
    """A project, and a process worker in it that takes what comes to the pool."""
    root = searches.make(tmp_path / "project")
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    deploy(POOL, str(root))
    prefect = Path(sys.executable).with_name("prefect")
    worker = projects.start(
        root,
        str(prefect),
        "worker",
        "start",
        "--pool",
        POOL,
        "--limit",
        "2",
        PREFECT_API_URL=api,
        PREFECT_HOME=str(root),
    )
    try:
        yield root
    finally:
        os.killpg(worker.pid, signal.SIGINT)
        worker.communicate(timeout=60)


def test_runs_of_a_work_pool_work_on_the_study(pool: Path) -> None:
    record = tune(str(pool), trials=10, workers=1, remote=2)
    done = [trial for trial in record.trials if trial.state in FINISHED]
    assert len(done) >= 10
    assert record.candidates[0].name == "default"
    with get_client(sync_client=True) as client:

        def helpers() -> list[str | None]:
            chosen = FlowFilter.model_validate({"name": {"any_": ["tune-worker"]}})
            return [run.state_name for run in client.read_flow_runs(flow_filter=chosen)]

        projects.until(lambda: helpers() == ["Completed"] * 2, "both runs at their end")
    assert len({trial.place for trial in record.trials if trial.place}) >= 2


def test_an_impossible_search_space_is_reported_before_anything_begins(api: str, tmp_path: Path) -> None:
    root = searches.make(tmp_path / "project")
    with pytest.raises(InputError, match=r"tune\.space: batch_size = 4096 cannot be"):
        tune(str(root), overrides=["tune.space.batch_size.choices=[512, 4096]"])
    assert not (root / "mlruns" / "optuna.db").exists()
