"""Retrainings whose trainings fail: the next strategy of the plan, the best checkpoint kept, a diagnosis at the end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from support import projects

from flows.retrain import retrain
from hlynr.config.project import Project
from hlynr.ops.tracking import store
from hlynr.pipeline import commands, plan, retraining
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.retraining import RetrainRecord
from hlynr.records.training import TrainResult
from hlynr.report import tables
from hlynr.rl import bundle

# Learns to succeed in half of all engagements, then forgets it all at a hundred times the learning rate.
COLLAPSING = (
    "strategies.collapsing={train: {timesteps: 200704, n_envs: 128, n_steps: 32, batch_size: 512, target_kl: null,"
    " checkpoint_interval: 8192, learning_rate: {phases: [{until: 110000, value: 0.001}, {value: 0.1}]}},"
    " monitor: {interval: 8192, abort_below: 0.0, loss_factor: 1000000.0}}"
)
HOPELESS = "strategies.hopeless={monitor: {abort_after: 4096, abort_below: 0.99}}"
SOUND = "strategies.sound={monitor: {abort_below: 0.0}}"


def _make(root: Path, *names: str) -> Path:
    settings = (COLLAPSING, HOPELESS, SOUND, f"retrain.plan=[{', '.join(names)}]", "retrain.diagnosis_timesteps=0")
    return projects.make(root, *projects.EASY_GATE, "versioning.enabled=false", *settings, git=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("plan") / "project", "collapsing", "hopeless", "sound")


@pytest.fixture(scope="module")
def record(root: Path, api: str) -> RetrainRecord:
    return retrain(str(root))


def _opened(root: Path) -> store.Store:
    return store.open_store(projects.config(root), root)


def test_the_retraining_goes_on_after_a_collapse_and_an_abort(record: RetrainRecord) -> None:
    tried = [(attempt.lineage.strategy, attempt.status, attempt.failed) for attempt in record.attempts]
    assert tried[:2] == [("collapsing", "collapse", True), ("hopeless", "abort", True)]
    assert (tried[2][0], tried[2][2]) == ("sound", False)
    assert record.lineage == record.attempts[2].lineage.model_copy(update={"bundle_sha256": record.train.bundle_sha256})
    assert record.train.strategy == "sound"


def test_the_collapsed_training_is_stopped_and_its_best_checkpoint_kept(root: Path, record: RetrainRecord) -> None:
    kept = root / str(record.attempts[0].bundle)
    collapsed = TrainResult.read(kept.parent / "result.json")
    assert collapsed.verdict.stopped
    assert collapsed.timesteps < collapsed.budget
    assert collapsed.verdict.final_success < 0.5 * collapsed.best_success
    assert bundle.read_manifest(kept)["selection_success"] == collapsed.best_success == record.attempts[0].best_success


def test_every_attempt_is_a_run_under_one_parent_with_its_reason(root: Path, record: RetrainRecord) -> None:
    opened = _opened(root)
    parent = opened.client.get_run(str(record.lineage.mlflow_parent_run_id))
    runs = opened.client.search_runs(
        [opened.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["start_time ASC"]
    )
    assert [run.data.tags["hlynr.lineage.strategy"] for run in runs] == ["collapsing", "hopeless", "sound"]
    reasons = [run.data.tags["hlynr.lineage.reason"] for run in runs]
    assert reasons[0] == "first of the plan collapsing, hopeless, sound"
    assert reasons[1].startswith("attempt 1, collapsing, ended in collapse: success fell to ")
    assert reasons[2].startswith("attempt 2, hopeless, ended in abort: success ")
    assert [run.info.status for run in (parent, *runs)] == ["FINISHED"] * 4
    assert parent.data.metrics["attempts"] == 3
    assert all(reason in parent.data.tags["mlflow.note.content"] for reason in reasons)


def test_a_failed_attempts_bundle_comes_back_from_its_run(
    root: Path, record: RetrainRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its folder has long gone."""
    project = Project(root, projects.config(root))
    run_id = str(record.attempts[0].lineage.mlflow_run_id)
    with commands._bundle_of(project, run_id) as found:
        assert bundle.digest(found) == bundle.digest(root / str(record.attempts[0].bundle))


def test_the_summary_tells_the_plan(root: Path, record: RetrainRecord) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.summary(record, projects.config(root)))
    output = console.export_text()
    assert "The plan" in output
    assert "2 hopeless" in output


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A project after `hlynr retrain` with a plan of which nothing comes."""
    root = _make(tmp_path_factory.mktemp("failed") / "project", "hopeless")
    return root, projects.run(root, "hlynr", "retrain")


def test_a_plan_that_fails_ends_in_a_diagnosis_and_one_line(failed: tuple[Path, Any]) -> None:
    root, done = failed
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("hlynr: every strategy of the plan failed: hopeless: abort: success ")
    assert "Traceback" not in done.stderr
    found = Diagnosis.read(root / "outputs/diagnose/diagnosis.json")
    assert found.subject == "attempt 1, hopeless"
    assert last.endswith(f"Diagnosis: {found.verdict.partition('. ')[0].rstrip('.')}")


def test_a_failed_retraining_is_written_down_and_advances_the_retraining(failed: tuple[Path, Any]) -> None:
    root, _ = failed
    project = Project(root, projects.config(root))
    opened = _opened(root)
    (parent,) = opened.client.search_runs([opened.experiment_id], "tags.`hlynr.retraining.outcome` = 'failed'")
    assert parent.info.status == "FAILED"
    assert "Every strategy of the plan failed." in parent.data.tags["mlflow.note.content"]
    artifacts = {entry.path for entry in opened.client.list_artifacts(parent.info.run_id, "diagnosis")}
    assert {"diagnosis/diagnosis.html", "diagnosis/diagnosis.json"} <= artifacts
    assert len(plan.earlier(project)) == 1
    assert retraining.begin([project]).lineage.retraining == 1
