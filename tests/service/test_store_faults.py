"""MLflow's store fails during a retraining: no training is lost, no half-written file remains, it can be resumed.

The retraining is run by `hlynr retrain`, against the Prefect server of the service.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import projects, services
from support.services import Service

from hlynr.config.project import Project
from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import server, store
from hlynr.records.retraining import RetrainRecord
from hlynr.runtime import environment
from hlynr.runtime.errors import NOT_READY
from hlynr.service.prefect_api import answers

pytestmark = services.faults

RETRAINING = ("train.timesteps=262144", "monitor.interval=65536", "versioning.enabled=false", "retrain.plan=[default]")
QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return projects.make(tmp_path / "project", *projects.EASY_GATE, *RETRAINING)


def _begun(root: Path, service: Service, *options: str) -> Any:
    """A retraining, once its training has written a checkpoint."""
    process = projects.start(root, "hlynr", "retrain", *options, **service.api.environment, **QUICK)
    checkpoint = root / services.CHECKPOINT
    projects.until(lambda: checkpoint.exists() or process.poll() is not None, "a checkpoint")
    return process


def _ended(process: Any) -> tuple[int, str]:
    _, said = process.communicate(timeout=240)
    return process.returncode, said


def _resumed(root: Path, service: Service) -> RetrainRecord:
    done = projects.run(root, "hlynr", "retrain", "--resume", "--json", "-", **service.api.environment, **QUICK)
    assert done.returncode == 0, done.stderr
    return RetrainRecord.model_validate_json(done.stdout)


def _decided(root: Path, record: RetrainRecord) -> None:
    """One version, one decision, one champion, whose bundle comes back."""
    project = Project(root, projects.config(root))
    opened = store.open_store(project.config, root)
    assert [entry.action for entry in journal.history(opened)] == ["promoted"]
    champion = versions.champion(opened)
    assert champion is not None
    assert champion.version == record.promotion.version == 1
    versions.fetch_bundle(opened, champion.version, root / "fetched")
    assert not opened.client.search_runs([opened.experiment_id], "attributes.status = 'RUNNING'")


@contextmanager
def _mlflow(root: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's server over the project's own database, gone afterwards."""
    command = server.command("127.0.0.1", port)
    config = projects.config(root, "tracking.uri=sqlite:///mlruns/mlflow.db")
    variables = environment.of_child(server.environment(config, root))
    with (root / "server.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=root, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        projects.until(lambda: answers(f"http://127.0.0.1:{port}/health", b"OK"), "MLflow's server", 120.0)
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_mlflow_is_away_when_the_training_ends(service: Service, tmp_path: Path) -> None:
    """Its metrics are kept in a file, the retraining fails with one line, and is resumed when MLflow is back."""
    port = int(services.free_ports()[0].partition("=")[2])
    root = projects.make(
        tmp_path / "project", *projects.EASY_GATE, *RETRAINING, f"tracking.uri=http://127.0.0.1:{port}"
    )
    store.open_store(projects.config(root, "tracking.uri=sqlite:///mlruns/mlflow.db"), root)
    with _mlflow(root, port):
        retraining = _begun(root, service)
    code, said = _ended(retraining)
    assert code == NOT_READY, said
    assert "Traceback" not in said
    assert f"MLflow's server at http://127.0.0.1:{port} does not answer" in said.splitlines()[-1]
    assert (root / "outputs/train/bundle/manifest.json").exists()
    assert (root / "outputs/train/unsent-metrics.jsonl").exists()
    with _mlflow(root, port):
        record = _resumed(root, service)
        _decided(root, record)
        opened = store.open_store(projects.config(root), root)
        sent = opened.client.get_metric_history(str(record.lineage.mlflow_run_id), "eval/success_rate")
        assert {point.step for point in sent} == {point.timesteps for point in record.train.evaluations}
    assert not (root / "outputs/train/unsent-metrics.jsonl").exists()


def test_the_database_is_locked_during_the_training(service: Service, root: Path) -> None:
    """By a backup, say: the training does not wait for it, and no figure is lost."""
    retraining = _begun(root, service)
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db", timeout=60)) as other:
        other.execute("begin exclusive")
        time.sleep(7.0)  # longer than SQLite's own patience of five
    code, said = _ended(retraining)
    assert code == 0, said
    record = RetrainRecord.read(root / "outputs" / "retrain.json")
    _decided(root, record)
    opened = store.open_store(projects.config(root), root)
    sent = opened.client.get_metric_history(str(record.lineage.mlflow_run_id), "eval/success_rate")
    assert {point.step for point in sent} == {point.timesteps for point in record.train.evaluations}


def test_the_database_stays_locked(service: Service, root: Path) -> None:
    retraining = _begun(root, service)
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db", timeout=60)) as other:
        other.execute("begin exclusive")
        code, said = _ended(retraining)
    assert code == NOT_READY, said
    assert said.splitlines()[-1].endswith(f"{root}/mlruns/mlflow.db cannot be used: database is locked")
    assert "Traceback" not in said
    _decided(root, _resumed(root, service))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_the_disk_is_full_when_artifacts_are_written(service: Service, root: Path) -> None:
    artifacts = root / "mlruns" / "artifacts"
    artifacts.mkdir(parents=True)
    projects.checked(root, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(artifacts))
    try:
        code, said = _ended(_begun(root, service))
        assert code == NOT_READY, said
        assert "No space left on device" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert journal.history(store.open_store(projects.config(root), root)) == []
        projects.checked(root, "mount", "-o", "remount,size=100m", str(artifacts))
        _decided(root, _resumed(root, service))
    finally:
        projects.checked(root, "umount", str(artifacts))
