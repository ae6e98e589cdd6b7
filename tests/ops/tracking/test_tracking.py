"""The store comes into being once, runs resume, metrics arrive or are kept, and models are found and load."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import projects, racers, stores

from hlynr.ops.tracking import store as store_module
from hlynr.ops.tracking.metric_stream import MetricStream
from hlynr.ops.tracking.metrics import dataset_of
from hlynr.ops.tracking.runs import (
    DIGEST_TAG,
    conclude_retraining,
    finish_run,
    has_run,
    is_concluded,
    log_decision,
    log_report,
    logged_decision,
    set_lineage,
    start_retraining,
    start_run,
)
from hlynr.ops.tracking.store import Store, StoreError, open_store, quiet_mlflow

# The store


def test_importing_costs_nothing() -> None:
    names = ("tracking.store", "tracking.metric_stream", "tracking.runs", "registry.versions", "registry.promotion")
    modules = ", ".join(f"hlynr.ops.{name}" for name in (*names, "registry.logged_model"))
    code = f"import sys, {modules}; print([m for m in ('mlflow', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_question_mark_in_the_path_is_part_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "q?x #1 pr\u00fcf%20"
    opened = open_store(stores.config(), root)
    run = opened.client.create_run(opened.experiment_id)
    opened.client.log_text(run.info.run_id, "text", "note.txt")
    assert [each.path for each in opened.client.list_artifacts(run.info.run_id)] == ["note.txt"]
    assert opened.has("hlynr")
    assert (root / "mlruns" / "mlflow.db").is_file()
    assert [each.name for each in tmp_path.iterdir()] == [root.name]


def test_racing_processes_create_the_store_once(tmp_path: Path) -> None:
    leftover = tmp_path / "mlruns" / ".mlflow.db.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "mlflow.db").write_bytes(b"a killed creation")
    (leftover / "mlflow.db-journal").write_bytes(b"of the same")
    assert racers.run(racers.open_and_log, [(tmp_path, number) for number in range(3)]) == [0, 0, 0]
    store = open_store(stores.config(), tmp_path)
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.data.metrics["train/loss"] for run in runs) == [0.0, 1.0, 2.0]
    assert not leftover.exists()


def test_artifacts_lie_in_the_project(store: Store, project: Path) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    store.client.log_text(run_id, "found", "note.txt")
    assert [path.read_text() for path in (project / "mlruns" / "artifacts").rglob("note.txt")] == ["found"]


def test_a_moved_project_is_recognised(store: Store, project: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(project, moved)
    with pytest.raises(StoreError, match="cannot be moved with its folder") as caught:
        open_store(stores.config(), moved)
    assert f"{project}/mlruns/artifacts" in str(caught.value)
    assert f"{moved}/mlruns/artifacts" in str(caught.value)
    open_store(stores.config("tracking.experiment=after the move"), moved)


def test_a_deleted_experiment_is_restored(store: Store, project: Path) -> None:
    store.client.delete_experiment(store.experiment_id)
    again = open_store(stores.config(), project)
    assert again.experiment_id == store.experiment_id
    start_run(again, stores.lineage(), stores.config())


def test_a_process_connects_once_to_each_store(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_store(stores.config(), project)
    renamed = open_store(stores.config("tracking.experiment=renamed"), project)
    assert open_store(stores.config("gate.baseline=0.4"), project) is first
    assert (renamed.uri, renamed.experiment_id) != (first.uri, first.experiment_id)
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as a forked child
    assert open_store(stores.config(), project) is not first


def test_a_held_lock_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT", 0.1)
    with store.lock(), pytest.raises(StoreError, match=r"mlflow\.db\.lock: another process"), store.lock():
        pass


def test_mlflow_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    quiet_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_LOGGING_LEVEL"] == "WARNING"


# Runs


def test_run_carries_name_params_and_lineage(store: Store) -> None:
    config = stores.config("train.net_arch=[64, 64]", "train.target_kl=null")
    run = store.client.get_run(start_run(store, stores.lineage(), config))
    assert run.info.run_name == "#0 · 1 default · ppo · reference · 20261123-180530"
    assert run.info.status == "RUNNING"
    assert run.data.tags["hlynr.lineage.id"] == stores.lineage().id
    assert run.data.tags["mlflow.source.git.commit"] == stores.lineage().git_commit
    others = ("strategies", "stability", "tune", "schedule", "service", "alerts", "retention")
    in_force = {key for key in config.flat() if key.partition(".")[0] not in others}
    assert set(run.data.params) == in_force
    shown = {key: run.data.params[key] for key in ("train.net_arch", "train.target_kl", "train.algorithm", "sim.dt")}
    assert shown == {
        "train.net_arch": "[64, 64]",
        "train.target_kl": "null",
        "train.algorithm": "ppo",
        "sim.dt": "0.01",
    }


def test_a_retry_goes_on_in_its_run(store: Store) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    finish_run(store, run_id, "FAILED", "crashed")
    assert start_run(store, stores.lineage(), stores.config()) == run_id
    assert store.client.get_run(run_id).info.status == "RUNNING"
    assert start_run(store, stores.lineage(1), stores.config()) != run_id


@pytest.mark.parametrize("digest", [None, "another"])
def test_a_run_whose_tags_name_other_parameters_is_replaced(store: Store, digest: str | None) -> None:
    """They were edited or removed by hand: what is logged for this lineage would contradict them."""
    run_id = start_run(store, stores.lineage(), stores.config())
    if digest:
        store.client.set_tag(run_id, DIGEST_TAG, digest)
    else:
        store.client.delete_tag(run_id, DIGEST_TAG)
    other = start_run(store, stores.lineage(), stores.config())
    assert other != run_id
    assert [store.client.get_run(each).info.status for each in (run_id, other)] == ["KILLED", "RUNNING"]


def test_a_concluded_retraining_is_named_after_its_result(store: Store) -> None:
    parent = start_retraining(store, stores.lineage(), ["default"])
    assert store.client.get_run(parent).info.run_name == "#0 · 20261123-180530"
    assert not is_concluded(store, parent)
    conclude_retraining(store, parent, "not_promoted", {"attempts": 1}, "**Version 2 was not promoted.**")
    assert is_concluded(store, parent)
    assert is_concluded(store, "0" * 32)  # deleted
    run = store.client.get_run(parent)
    assert (run.info.run_name, run.info.status) == ("#0 · not promoted · 20261123-180530", "FINISHED")
    assert run.data.metrics["attempts"] == 1


def test_a_run_of_another_store_is_not_ours(store: Store) -> None:
    assert has_run(store, start_run(store, stores.lineage(), stores.config()))
    assert not has_run(store, "0" * 32)


def test_lineage_tags_grow(store: Store) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    set_lineage(store, run_id, stores.lineage(dvc_revision="abc", mlflow_run_id=run_id))
    tags = store.client.get_run(run_id).data.tags
    assert (tags["hlynr.lineage.dvc_revision"], tags["hlynr.lineage.mlflow_run_id"]) == ("abc", run_id)


def test_report_becomes_metrics_datasets_and_artifacts(store: Store, tmp_path: Path) -> None:
    figure = tmp_path / "curve.png"
    figure.write_bytes(b"png")
    run_id = start_run(store, stores.lineage(), stores.config())
    for _ in range(2):  # as after a retry
        log_report(store, run_id, stores.evaluation(), stores.config(), [figure])
    run = store.client.get_run(run_id)
    assert run.data.metrics["report/success_rate"] == 0.94
    assert run.data.metrics["heldout/success_rate_low"] == pytest.approx(0.9235, abs=1e-4)
    assert run.data.metrics["heldout/baseline/pn/success_rate"] == 0.58
    assert "heldout/mean_time_to_intercept" not in run.data.metrics
    names = sorted(each.dataset.name for each in run.inputs.dataset_inputs)
    assert names == ["reference-heldout-3000017", "reference-report-2000003"]
    stored = store.client.download_artifacts(run_id, "report.json", str(tmp_path))
    assert json.loads(Path(stored).read_text())["heldout"]["success_rate"] == 0.94
    assert [file.path for file in store.client.list_artifacts(run_id, "figures")] == ["figures/curve.png"]


def test_dataset_digest_follows_what_makes_the_engagements() -> None:
    report = stores.evaluation().heldout

    def digest(*overrides: str, **changed: Any) -> str:
        return str(dataset_of(report.model_copy(update=changed), "heldout", stores.config(*overrides)).digest)

    assert digest() == digest("train.seed=9") == digest(success_rate=0.1)
    others = {
        digest(seed=1),
        digest(episodes=5),
        digest("sim.gravity=9.8"),
        digest("scenarios.reference.time_limit=30.0"),
    }
    assert len(others | {digest()}) == 5


def test_decision_and_description(store: Store, tmp_path: Path) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    log_decision(store, run_id, stores.decision(promote=True, champion=3))
    finish_run(store, run_id, "FINISHED", "**Version 4 is the new champion.**")
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"] == "**Version 4 is the new champion.**"
    assert run.data.tags["hlynr.gate"] == "promoted"
    assert run.data.metrics["gate/champion_version"] == 3
    stored = store.client.download_artifacts(run_id, "decision.json", str(tmp_path))
    assert json.loads(Path(stored).read_text())["promote"] is True
    assert logged_decision(store, run_id) == stores.decision(promote=True, champion=3)
    assert logged_decision(store, start_run(store, stores.lineage(1), stores.config())) is None


# Metrics during training


class Client:
    """A stub of MLflow: takes batches, slowly, or not at all."""

    def __init__(self, down: bool = False) -> None:
        self.down = down
        self.calls = 0
        self.received: list[Any] = []

    def log_batch(self, run_id: str, metrics: list[Any]) -> None:
        self.calls += 1
        if self.down:
            raise ConnectionError("connection refused")
        self.received += metrics


def stream_to(client: Client, unsent: Path, run_id: str = "run", interval: float = 0.01) -> MetricStream:
    stand_in: Any = SimpleNamespace(client=client)
    return MetricStream(stand_in, run_id, unsent, interval)


def test_metrics_arrive_with_their_steps(store: Store, tmp_path: Path) -> None:
    run_id = start_run(store, stores.lineage(), stores.config())
    with closing(MetricStream(store, run_id, tmp_path / "unsent.jsonl")) as stream:
        for step in range(300):
            stream.log(step, {f"train/{name}": step + index for index, name in enumerate("abcdefgh")})
        stream.log(300, {"monitor/nan": math.nan, "monitor/inf": math.inf})
    series = store.client.get_metric_history(run_id, "train/c")
    assert [(point.step, point.value) for point in series] == [(step, step + 2) for step in range(300)]
    metrics = store.client.get_run(run_id).data.metrics
    assert math.isnan(metrics["monitor/nan"])
    assert math.isnan(metrics["monitor/inf"])
    assert not (tmp_path / "unsent.jsonl").exists()


def test_a_slow_store_does_not_slow_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training logs everything while the store has not yet taken the first batch."""
    client, answers = Client(), threading.Event()
    take = client.log_batch

    def slow(run_id: str, metrics: list[Any]) -> None:
        assert answers.wait(60.0)
        take(run_id, metrics)

    monkeypatch.setattr(client, "log_batch", slow)
    stream = stream_to(client, tmp_path / "unsent.jsonl")
    for step in range(2000):
        stream.log(step, {"train/loss": 1.0})
    assert client.calls == 0
    answers.set()
    assert stream.close() == 0
    assert len(client.received) == 2000
    assert client.calls < 20


def test_an_unreachable_store_keeps_the_training_alive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unsent = tmp_path / "outputs" / "unsent-metrics.jsonl"
    client = Client(down=True)
    with caplog.at_level(logging.WARNING):
        stream = stream_to(client, unsent)
        for step in range(5):
            stream.log(step, {"train/loss": step, "train/std": math.nan})
            projects.until(lambda: client.calls == 1, "the first batch")
        assert stream.close() == 10
    messages = [record.getMessage() for record in caplog.records]
    assert [text.split(" (")[0] for text in messages] == [
        "MLflow takes no metrics",
        f"10 metric values could not be sent to MLflow; they are kept in {unsent}",
    ]
    assert client.calls == 2  # at the first batch and at the end
    kept = [json.loads(line) for line in unsent.read_text().splitlines()]
    assert [entry["value"] for entry in kept if entry["key"] == "train/loss"] == [0, 1, 2, 3, 4]


def test_what_was_kept_is_sent_when_the_store_is_back(tmp_path: Path) -> None:
    unsent = tmp_path / "unsent.jsonl"
    for run_id in ("run", "other"):
        down = stream_to(Client(down=True), unsent, run_id)
        down.log(7, {"train/loss": 0.5})
        down.close()
    with unsent.open("a") as file:
        file.write('{"run_id": "run", "ke')  # a crash while writing
    client = Client()
    assert stream_to(client, unsent).close() == 0
    assert [(point.key, point.step, point.value) for point in client.received] == [("train/loss", 7, 0.5)]
    assert unsent.exists()  # the other run's value is still there
    assert stream_to(client, unsent, "other").close() == 0
