"""The nightly flow against a real Prefect server: order, states, artifacts, retries, and the lineage through it all."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from support import projects
from support.projects import RetrainedProject

from flows.retrain import retrain
from hlynr.config.project import Project
from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import store
from hlynr.ops.versioning import git
from hlynr.pipeline import commands, retraining, steps
from hlynr.records.retraining import RetrainRecord
from hlynr.records.training import TrainResult
from hlynr.rl import bundle
from hlynr.runtime import locks
from hlynr.runtime.errors import INTERRUPTED, EnvironmentNotReady, InputError

STEPS = ["validate", "train", "conclude attempt", "version", "evaluate", "version", "gate", "promote"]


@dataclass(frozen=True)
class Second:
    """The retraining after `retraining`, and the champion it met."""

    record: RetrainRecord
    champion: int | None


@pytest.fixture(scope="session")
def second(retraining: RetrainedProject, api: str) -> Second:
    """Another retraining of the same project with the same params, by calling the flow."""
    reigning = versions.champion(_store(retraining.project))
    return Second(retrain(str(retraining.root)), reigning.version if reigning else None)


def _store(project: Project) -> store.Store:
    return store.open_store(project.config, project.root)


def _flow_run(record: RetrainRecord) -> UUID:
    assert record.lineage.flow_run_id is not None
    return UUID(record.lineage.flow_run_id)


def test_every_step_is_a_task_that_completed(second: Second) -> None:
    chosen = FlowRunFilter.model_validate({"id": {"any_": [_flow_run(second.record)]}})
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(_flow_run(second.record))
        assert run.state is not None
        assert run.state.is_completed()
        projects.until(lambda: len(client.read_task_runs(flow_run_filter=chosen)) == len(STEPS), "all task runs")
        tasks = sorted(client.read_task_runs(flow_run_filter=chosen), key=lambda task: str(task.start_time))
    assert [re.sub(r"-\w+$", "", task.name) for task in tasks] == STEPS
    assert {task.state_name for task in tasks} == {"Completed"}
    assert list(second.record.seconds) == [step for step in dict.fromkeys(STEPS) if step != "conclude attempt"]


def test_the_flow_run_shows_progress_report_and_gate(second: Second) -> None:
    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [_flow_run(second.record)]}})
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=chosen)}
    assert {key: artifact.type for key, artifact in artifacts.items()} == {
        "training": "progress",
        "evaluation": "table",
        "gate": "table",
    }
    assert float(str(artifacts["training"].data)) == 100.0
    assert "16,384 / 16,384" in str(artifacts["training"].description)
    assert artifacts["gate"].description == second.record.decision.reason
    assert "significantly_better_than_champion" in str(artifacts["gate"].data)


def test_the_second_retraining_has_other_seeds_and_meets_the_champion(
    retraining: RetrainedProject, second: Second
) -> None:
    first, then = retraining.record, second.record
    assert (first.lineage.retraining, then.lineage.retraining) == (0, 1)
    assert then.train.seed == first.train.seed + 1
    assert then.evaluation.heldout.seed == first.evaluation.heldout.seed + 1
    assert then.evaluation.report.seed == first.evaluation.report.seed + 1
    comparison = then.decision.comparison
    assert first.decision.comparison is None
    assert comparison is not None
    assert comparison.champion_version == second.champion == 1
    assert comparison.challenger_success == then.evaluation.heldout.success_rate


def test_the_lineage_leads_everywhere(retraining: RetrainedProject, second: Second, tmp_path: Path) -> None:
    """From its id alone to the flow run, the MLflow run, the version, the experiment, the bundle and the commit."""
    record, root = second.record, retraining.root
    lineage = record.lineage
    opened = _store(retraining.project)
    tag = f"tags.`hlynr.lineage.id` = '{lineage.id}'"
    (run,) = opened.client.search_runs([opened.experiment_id], tag)
    found = {key.removeprefix("hlynr.lineage."): value for key, value in run.data.tags.items() if "lineage" in key}
    assert found == {key.removeprefix("hlynr.lineage."): value for key, value in lineage.tags().items()}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(found["flow_run_id"])).name
    assert found["git_commit"] == git.run(root, "rev-parse", "HEAD")
    assert found["git_dirty"] == "false"
    assert found["params_digest"] == retraining.project.at_retraining(1).config.digest()
    restored = commands.restore(retraining.project, found["dvc_experiment"], tmp_path / "restored")
    manifest = bundle.read_manifest(restored)
    assert bundle.digest(restored) == found["bundle_sha256"] == record.evaluation.bundle_sha256
    assert manifest["lineage"]["id"] == lineage.id
    assert manifest["lineage"]["flow_run_id"] is None  # another one after each resume
    version = versions.find(opened, record.promotion.version)
    assert version.tags["hlynr.lineage.id"] == lineage.id
    assert version.tags["hlynr.lineage.dvc_experiment"] == found["dvc_experiment"]
    fetched = versions.fetch_bundle(opened, version.version, tmp_path / "fetched")
    assert bundle.digest(fetched) == found["bundle_sha256"]
    assert RetrainRecord.read(root / "outputs" / "retrain.json") == record


def test_the_mlflow_run_tells_the_whole_retraining(retraining: RetrainedProject, second: Second) -> None:
    opened, run_id = _store(retraining.project), str(second.record.lineage.mlflow_run_id)
    run = opened.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    output = run.data.tags["mlflow.note.content"]
    assert second.record.decision.reason.split(": ", 1)[1] in output
    assert str(second.record.lineage.dvc_experiment) in output
    artifacts = {entry.path for entry in opened.client.list_artifacts(run_id)}
    assert {"report.json", "decision.json", "figures"} <= artifacts
    figures = {Path(entry.path).name for entry in opened.client.list_artifacts(run_id, "figures")}
    assert {"learning-curve.png", "comparison.png", "miss-distance.png", "trajectories.png"} <= figures
    assert run.data.metrics["heldout/success_rate"] == second.record.evaluation.heldout.success_rate


def test_the_users_repository_is_as_it_was(retraining: RetrainedProject, second: Second) -> None:
    assert git.run(retraining.root, "status", "--porcelain") == ""
    assert git.run(retraining.root, "branch", "--show-current") == "main"
    assert second.record.version is not None
    assert second.record.version.verified


def test_a_retraining_leaves_few_artifacts(retraining: RetrainedProject, second: Second) -> None:
    """Fewer than twenty files and 300 kB for each of the two."""
    files = [path for path in (retraining.root / "mlruns/artifacts").rglob("*") if path.is_file()]
    assert len(files) < 2 * 20
    assert sum(path.stat().st_size for path in files) < 2 * 300_000


def test_rollback_brings_the_champion_before_back(retraining: RetrainedProject, second: Second) -> None:
    """Whether or not the gate let the second one through: it is made champion first."""
    opened, record = _store(retraining.project), second.record
    if record.promotion.action == "not_promoted":
        forced = record.decision.model_copy(update={"promote": True, "reason": "Promoted: by the test."})
        steps.promote(retraining.project.at_retraining(1), record.train, record.evaluation, forced, record.version)
    assert versions.champion(opened) == versions.find(opened, record.promotion.version)
    assert commands.rollback(retraining.project).champion_after == 1
    champion = versions.champion(opened)
    assert champion is not None
    assert champion.version == 1
    assert journal.history(opened)[-1].action == "rolled_back"
    output = opened.client.get_model_version(opened.model, str(record.promotion.version)).description
    assert output.startswith("Rolled back on ")
    assert "| `champion` &emsp; | **1** &emsp; |" in opened.client.get_registered_model(opened.model).description
    with pytest.raises(EnvironmentNotReady, match="has nothing before it"):
        commands.rollback(retraining.project)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, api: str) -> Path:
    """A project without versioning, whose training is long enough to be stopped."""
    return projects.make(tmp_path_factory.mktemp("alone") / "project", *projects.LONG, git=False)


@pytest.fixture(scope="module")
def uninterrupted(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights that the first retraining of ``alone`` ends with when nothing happens to it."""
    from hlynr.ops.tracking import lineage
    from hlynr.rl.train import train

    out, config = tmp_path_factory.mktemp("uninterrupted"), projects.config(alone)
    train(config, out, lineage.start(config, alone), resume=False)
    return (out / "bundle" / bundle.WEIGHTS).read_bytes()


def test_a_retraining_survives_ctrl_c_kill_9_and_a_killed_child(
    alone: Path, api: str, uninterrupted: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three interruptions of one retraining; it keeps its lineage and number, and ends with the same weights."""
    checkpoint = alone / "outputs/train/checkpoints/latest.pt"

    def begun(*options: str) -> Any:
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = projects.start(alone, "hlynr", "retrain", *options, PREFECT_API_URL=api)
        projects.until(lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before, "a new checkpoint")
        return process

    interrupted = begun()
    (training,) = psutil.Process(interrupted.pid).children()
    os.killpg(interrupted.pid, signal.SIGINT)
    _, said = interrupted.communicate(timeout=60)
    assert interrupted.returncode == INTERRUPTED, said
    assert said.splitlines()[-1] == "hlynr: interrupted; hlynr retrain --resume goes on with this retraining"
    assert "Traceback" not in said
    assert not training.is_running()
    first = TrainResult.read(alone / "outputs/train/result.json").lineage
    parent = first.mlflow_parent_run_id
    assert _runs(alone) == {parent: "KILLED", first.mlflow_run_id: "KILLED"}
    assert _state(first.flow_run_id) == "Crashed"

    killed = begun("--resume")
    (training,) = psutil.Process(killed.pid).children()
    killed.kill()
    killed.communicate(timeout=60)
    projects.until(lambda: not training.is_running() or training.status() == psutil.STATUS_ZOMBIE, "no orphan", 30)
    assert _runs(alone) == {parent: "KILLED", first.mlflow_run_id: "KILLED"}

    thread = threading.Thread(target=_kill_the_training, args=(checkpoint,))
    thread.start()
    record = retrain(str(alone), resume=True)
    thread.join()
    assert (
        "train again, after TrainingCrashedError('the training process ended with signal SIGKILL')"
        in capfd.readouterr().err
    )
    assert (record.lineage.id, record.lineage.retraining) == (first.id, 0)
    assert record.lineage.flow_run_id != first.flow_run_id
    assert _state(record.lineage.flow_run_id) == "Completed"
    assert _runs(alone) == {parent: "FINISHED", first.mlflow_run_id: "FINISHED"}
    assert (alone / "outputs/train/bundle" / bundle.WEIGHTS).read_bytes() == uninterrupted

    project = Project(alone, projects.config(alone))
    following = retraining.begin([project], resume=True)
    assert following.lineage.retraining == 1
    assert following.lineage.id != first.id


def _kill_the_training(checkpoint: Path) -> None:
    """As soon as it has saved something new."""
    before = checkpoint.stat().st_mtime_ns
    projects.until(lambda: checkpoint.stat().st_mtime_ns > before, "a new checkpoint")
    (training,) = [each for each in psutil.Process().children() if "hlynr.pipeline.training_process" in each.cmdline()]
    training.kill()


def _runs(root: Path) -> dict[str | None, str]:
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as connection:
        return dict(connection.execute("select run_uuid, status from runs").fetchall())


def _state(flow_run_id: str | None) -> str | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(flow_run_id)).state_name


def test_a_second_retraining_is_turned_away(retraining: RetrainedProject, api: str) -> None:
    with (
        locks.one_at_a_time(retraining.root),
        pytest.raises(EnvironmentNotReady, match="another retraining is going on"),
    ):
        retrain(str(retraining.root))


def test_bad_input_fails_the_flow_run_at_once(retraining: RetrainedProject, api: str) -> None:
    with pytest.raises(InputError, match=r"train\.sead: unknown key"):
        retrain(str(retraining.root), overrides=["train.sead=3"])


def test_a_machine_that_is_not_ready_fails_the_flow_run_at_once(alone: Path, api: str) -> None:
    with pytest.raises(EnvironmentNotReady, match="git: versioning needs a git repository; run `git init`"):
        retrain(str(alone), overrides=["versioning.enabled=true"])
