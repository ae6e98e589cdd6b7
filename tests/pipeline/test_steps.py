"""The steps of a retraining: exit codes, the gate's comparison, and what closes a run that ends early."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import projects, samples

from hlynr.config.project import Project
from hlynr.evaluation import judge
from hlynr.ops.registry import versions
from hlynr.ops.tracking import runs, store
from hlynr.ops.versioning import experiments
from hlynr.pipeline import steps
from hlynr.pipeline.plan import PlanFailedError
from hlynr.records.evaluation import EvaluationReport, HeldoutSuccess, PairedComparison
from hlynr.records.retraining import VersionRecord
from hlynr.rl import bundle
from hlynr.runtime.errors import DONE, INTERRUPTED, TRAINING_FAILED


@pytest.mark.parametrize(
    ("status", "interrupted", "code"),
    [
        ("healthy", False, DONE),
        ("plateau", False, DONE),
        ("collapse", False, TRAINING_FAILED),
        ("abort", False, TRAINING_FAILED),
        ("nan", False, TRAINING_FAILED),
        ("exploding_loss", False, TRAINING_FAILED),
        ("reward_farming", False, DONE),
        ("runaway_std", False, DONE),
        ("action_saturation", False, DONE),
        ("healthy", True, INTERRUPTED),
    ],
)
def test_exit_codes_of_a_training(status: Any, interrupted: bool, code: int) -> None:
    verdict = samples.training().verdict.model_copy(update={"status": status})
    result = samples.training(verdict=verdict, interrupted=interrupted)
    assert steps.exit_code(result) == code


CHALLENGER = "the challenger"
ENGAGEMENTS = 8


@dataclass
class Judged:
    """A project with a champion and an evaluated challenger, and the bundles that the gate runs."""

    project: Project
    report: EvaluationReport
    ran: list[str]

    def gate(self, project: Project | None = None) -> PairedComparison:
        decision = steps.gate(project or self.project, samples.training(bundle_sha256=CHALLENGER), self.report)
        assert decision.comparison is not None
        return decision.comparison

    @property
    def heldout(self) -> Path:
        return self.project.evaluate / steps.HELDOUT


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """The challenger wins the first six of eight engagements, the champion the last four."""
    project = Project(tmp_path, projects.config(projects.OURS))
    ran: list[str] = []

    def run(policy: Path, *_: object) -> SimpleNamespace:
        ran.append("challenger" if policy == project.bundle else "champion")
        won = np.arange(ENGAGEMENTS) < 6 if policy == project.bundle else np.arange(ENGAGEMENTS) >= 4
        return SimpleNamespace(success=won)

    monkeypatch.setattr(store, "open_store", lambda *_: None)
    monkeypatch.setattr(runs, "log_decision", lambda *_: None)
    monkeypatch.setattr(versions, "champion", lambda _: SimpleNamespace(version=3))
    monkeypatch.setattr(versions, "fetch_bundle", lambda opened, version, folder: folder)
    monkeypatch.setattr(bundle, "digest", lambda _: CHALLENGER)
    monkeypatch.setattr(bundle, "load_policy", lambda folder, threads: folder)
    monkeypatch.setattr(judge, "run_seed_set", run)
    found = Judged(project, samples.evaluation(bundle_sha256=CHALLENGER), ran)
    known = HeldoutSuccess(
        bundle_sha256=CHALLENGER, params_digest=project.config.digest(), success=(True,) * 6 + (False,) * 2
    )
    known.write(found.heldout)
    return found


def test_the_gate_runs_the_champion_alone(judged: Judged) -> None:
    comparison = judged.gate()
    assert judged.ran == ["champion"]
    assert (comparison.champion_version, comparison.challenger_only, comparison.champion_only) == (3, 4, 2)
    assert (comparison.challenger_success, comparison.champion_success) == (0.75, 0.5)


@pytest.mark.parametrize("known", ["missing", "damaged", "of another bundle", "of another configuration"])
def test_the_gate_trusts_no_other_evaluation(judged: Judged, known: str) -> None:
    expected = judged.gate()
    judged.ran.clear()
    other: dict[str, Any] = {"success": (True,) * ENGAGEMENTS}
    if known == "missing":
        judged.heldout.unlink()
    elif known == "damaged":
        judged.heldout.write_text("{")
    else:
        other |= {"bundle_sha256" if known == "of another bundle" else "params_digest": "0" * 64}
        HeldoutSuccess.read(judged.heldout).model_copy(update=other).write(judged.heldout)
    assert judged.gate() == expected
    assert judged.ran == ["challenger", "champion"]


def test_other_engagements_are_run_anew(judged: Judged) -> None:
    """The number of the retraining decides their seed."""
    judged.gate(judged.project.at_retraining(7))
    assert judged.ran == ["challenger", "champion"]


def test_without_a_champion_the_gate_runs_nothing(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "champion", lambda _: None)
    decision = steps.gate(judged.project, samples.training(bundle_sha256=CHALLENGER), judged.report)
    assert decision.comparison is None
    assert judged.ran == []


def test_the_gate_wants_the_bundle_that_was_evaluated(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "digest", lambda _: "another")
    with pytest.raises(bundle.BundleError, match="is not the bundle that was evaluated; evaluate it first"):
        judged.gate()


def test_nothing_is_promoted_in_the_place_of_a_champion_that_cannot_be_run(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were deleted, by hand, or it is none of ours: the retraining ends with a decision all the same."""

    def gone(opened: Any, version: int, folder: Path) -> Path:
        raise versions.UnusableBundleError("version 3: its bundle is not in /mlruns")

    monkeypatch.setattr(versions, "fetch_bundle", gone)
    decision = steps.gate(judged.project, samples.training(bundle_sha256=CHALLENGER), judged.report)
    assert not decision.promote
    assert decision.comparison is None
    reason = "the challenger cannot be compared with the champion: version 3: its bundle is not in /mlruns."
    assert decision.reason == f"Not promoted: {reason}"
    assert "not comparable" in {rule.value for rule in decision.rules if not rule.passed}


def test_a_champion_out_of_reach_is_asked_for_again(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The retraining fails in one line, and the next one resumes it."""

    def away(opened: Any, version: int, folder: Path) -> Path:
        raise versions.RegistryError("version 3: its bundle is not in s3://models: no answer")

    monkeypatch.setattr(versions, "fetch_bundle", away)
    with pytest.raises(versions.RegistryError, match="no answer"):
        judged.gate()


def test_a_training_without_a_run_cannot_be_promoted(judged: Judged) -> None:
    with pytest.raises(store.StoreError, match="the training has no MLflow run"):
        steps.promote(judged.project, samples.training(), judged.report, samples.decision())


@pytest.mark.parametrize(
    ("error", "closed"),
    [
        (ValueError("x"), [("parent", "FAILED", "Ended without a decision: ValueError('x')")]),
        (KeyboardInterrupt(), [("parent", "KILLED", "Ended without a decision: KeyboardInterrupt()")]),
        (PlanFailedError("all failed"), []),
    ],
)
def test_a_retraining_that_ends_early_closes_its_run(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, error: BaseException, closed: list[tuple[str, str, str]]
) -> None:
    found: list[tuple[str, str, str]] = []
    monkeypatch.setattr(runs, "finish_run", lambda opened, *arguments: found.append(arguments))
    lineage = samples.LINEAGE.model_copy(update={"mlflow_parent_run_id": "parent"})
    with pytest.raises(type(error)), steps.reported_retraining(judged.project, lineage):
        raise error
    assert found == closed


@pytest.mark.parametrize("enabled", [True, False])
def test_versioning_can_be_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    saved = VersionRecord(experiment="e", revision="r", pushed=True, verified=True)
    monkeypatch.setattr(experiments, "save", lambda root, name, config, *, push: saved)
    project = Project(tmp_path, projects.config(projects.OURS, f"versioning.enabled={str(enabled).lower()}"))
    assert steps.version(project, samples.LINEAGE) == (saved if enabled else None)
