"""The action plan on disk: what becomes of an attempt, and how an interrupted retraining finds where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import projects

from hlynr.config.project import Project
from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import abandoned, lineage, runs, store
from hlynr.pipeline import plan, retraining
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage, MonitorVerdict, TrainResult
from hlynr.rl import checkpoint
from hlynr.runtime.errors import TrainingError

STRATEGIES = ("default", "stabilised-lstm", "large-mlp")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Path | None]]:
    """What was written on MLflow runs: run, outcome, bundle."""
    found: list[tuple[str, str, Path | None]] = []

    def conclude(opened: Any, run_id: str, attempt: Attempt, bundle: Path | None) -> None:
        assert bundle is None or bundle.is_dir()
        found.append((run_id, attempt.outcome, bundle))

    monkeypatch.setattr(store, "open_store", lambda config, root: None)
    monkeypatch.setattr(runs, "conclude_attempt", conclude)
    monkeypatch.setattr(runs, "run_id_of", lambda opened, begun: begun.mlflow_run_id)
    monkeypatch.setattr(runs, "failed_retrainings", lambda opened: set())
    monkeypatch.setattr(runs, "concluded", lambda opened: {})
    monkeypatch.setattr(versions, "numbers", lambda opened: set())
    monkeypatch.setattr(journal, "unfinished", lambda opened: None)
    monkeypatch.setattr(runs, "start_retraining", lambda opened, begun, names, owner: "parent")
    monkeypatch.setattr(journal, "history", lambda opened: [])
    monkeypatch.setattr(abandoned, "close", lambda opened, root, keep: None)
    return found


@pytest.fixture
def plans(tmp_path: Path) -> list[Project]:
    overrides = [f"retrain.plan=[{', '.join(STRATEGIES)}]"]
    return [
        Project(tmp_path, projects.config(projects.OURS, *overrides, f"run.strategy={name}")) for name in STRATEGIES
    ]


@pytest.fixture
def first(plans: list[Project]) -> Lineage:
    begun = plan.opening(plans, lineage.start(plans[0].config, plans[0].root))
    return begun.model_copy(update={"mlflow_run_id": "run-1", "mlflow_parent_run_id": "parent"})


def trained(project: Project, begun: Lineage, status: Any, peak: float = 0.4) -> TrainResult:
    """The result of a training and what it leaves in its folder."""
    for name in ("bundle", "checkpoints"):
        (project.train / name).mkdir(parents=True, exist_ok=True)
    (project.train / "bundle" / "manifest.json").write_text(begun.id)
    verdict = MonitorVerdict(
        status=status, reason="for a reason", stopped=True, at_timesteps=9, peak_success=peak, peak_timesteps=5,
        final_success=0.0,
    )  # fmt: skip
    result = TrainResult(
        lineage=begun, strategy=begun.strategy, algorithm="ppo", scenario="reference", seed=1, device="cpu",
        timesteps=9, budget=10, interrupted=False, resumed_from=None, seconds=1.0, timesteps_per_second=9.0,
        best_timesteps=5, best_success=peak, verdict=verdict, bundle="bundle", bundle_sha256="0" * 64, evaluations=(),
    )  # fmt: skip
    result.write(project.train / "result.json")
    return result


def test_a_failed_attempt_is_put_aside_with_its_best_bundle(
    plans: list[Project], first: Lineage, noted: list[Any]
) -> None:
    attempt = plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    aside = plans[0].attempts / "1-default"
    assert attempt.failed
    assert attempt.outcome == "collapse: for a reason"
    assert attempt.bundle == "outputs/attempts/1-default/bundle"
    assert noted == [("run-1", "collapse: for a reason", aside / "bundle")]
    assert not plans[0].train.exists()
    assert not (aside / "checkpoints").exists()  # nothing goes on from a failure
    assert plan.earlier(plans[0]) == (attempt,)


def test_a_sound_attempt_stays_where_it_is(plans: list[Project], first: Lineage, noted: list[Any]) -> None:
    attempt = plan.conclude(plans[0], first, trained(plans[0], first, "plateau"))
    assert (attempt.failed, attempt.bundle) == (False, "outputs/train/bundle")
    assert plans[0].bundle.is_dir()
    assert plan.earlier(plans[0]) == ()


def test_a_training_without_any_policy_is_a_failed_attempt(
    plans: list[Project], first: Lineage, noted: list[Any]
) -> None:
    plans[0].train.mkdir(parents=True)
    attempt = plan.conclude(plans[0], first, TrainingError("no usable policy: nan"))
    assert (attempt.failed, attempt.status, attempt.bundle) == (True, "failed", None)
    assert noted == [("run-1", "no usable policy: nan", None)]
    assert plan.best([attempt]) is None


def test_the_next_attempt_knows_why_it_is_made(plans: list[Project], first: Lineage, noted: list[Any]) -> None:
    assert first.reason == "first of the plan default, stabilised-lstm, large-mlp"
    failed = plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    second = plan.following(plans, [failed])
    assert second.reason == "attempt 1, default, ended in collapse: for a reason"
    assert (second.id, second.retraining_id, second.attempt) == (f"{first.id}-2", first.id, 2)
    assert (second.strategy, second.params_digest) == ("stabilised-lstm", plans[1].config.digest())
    assert (second.mlflow_run_id, second.mlflow_parent_run_id) == (None, "parent")
    third = plan.following(plans, [failed, plan.conclude(plans[1], second, trained(plans[1], second, "abort"))])
    assert (third.id, third.retraining_id, third.strategy) == (f"{first.id}-3", first.id, "large-mlp")


def test_a_retraining_killed_between_two_attempts_goes_on_with_the_second(
    plans: list[Project], first: Lineage, noted: list[Any]
) -> None:
    failed = plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    current = retraining.begin(plans, "flow-2", resume=True)
    assert current.earlier == (failed,)
    assert current.lineage == plan.following(plans, [failed]).model_copy(update={"flow_run_id": "flow-2"})


def test_a_retraining_killed_in_its_second_attempt_goes_on_with_its_checkpoint(
    plans: list[Project], first: Lineage, noted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    left = plan.following(plans, [failed]).model_copy(update={"mlflow_run_id": "run-2"})
    from hlynr.rl.train import training_digest

    def lineage_of(folder: Path, digest: str) -> Lineage:
        assert digest == training_digest(plans[1].config)
        return left

    monkeypatch.setattr(checkpoint, "lineage_of", lineage_of)
    current = retraining.begin(plans, "flow-2", resume=True)
    assert (current.lineage.id, current.lineage.mlflow_run_id, current.earlier) == (
        left.id,
        "run-2",
        (failed,),
    )


def test_a_retraining_that_has_failed_is_over(plans: list[Project], first: Lineage, noted: list[Any]) -> None:
    begun, attempts = first, []
    for number, project in enumerate(plans):
        attempts.append(plan.conclude(project, begun, trained(project, begun, "abort", peak=0.1 * number)))
        begun = plan.following(plans, attempts) if number < 2 else begun
    assert plan.best(attempts) == attempts[2]
    current = retraining.begin(plans, resume=True)
    assert current.earlier == ()
    assert current.lineage.retraining_id != first.id
    assert plan.earlier(plans[0]) == ()  # a new retraining begins with nothing aside


def test_attempts_of_a_decided_retraining_are_not_gone_on_with(
    plans: list[Project], first: Lineage, noted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    monkeypatch.setattr(runs, "failed_retrainings", lambda opened: {first.id})
    assert retraining.begin(plans, resume=True).lineage.retraining == 1


def test_the_failure_names_every_attempt_and_the_diagnosis(
    plans: list[Project], first: Lineage, noted: list[Any]
) -> None:
    failed = plan.conclude(plans[0], first, trained(plans[0], first, "collapse"))
    found = Diagnosis.model_construct(verdict="The tracker does not predict. It should.")
    assert str(plan.failure([failed], found)) == (
        "every strategy of the plan failed: default: collapse: for a reason. Diagnosis: The tracker does not predict"
    )
    assert str(plan.failure([failed], None)).endswith("Diagnosis: there is no bundle to diagnose")
