"""The action plan of a retraining: strategies tried in order, each when the training before it failed.

A failed attempt's folder is moved aside in one step with its result, so that a killed retraining can be resumed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from hlynr.config.project import Project
from hlynr.ops.tracking import runs, store
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage, TrainResult
from hlynr.runtime.errors import TrainingError

RECORD = "attempt.json"


class PlanFailedError(TrainingError):
    """Every strategy of the plan has failed."""


def opening(projects: Sequence[Project], lineage: Lineage) -> Lineage:
    """The lineage of a retraining's first attempt."""
    names = ", ".join(project.config.run.strategy for project in projects)
    return lineage.model_copy(update={"reason": f"first of the plan {names}"})


def following(projects: Sequence[Project], earlier: Sequence[Attempt]) -> Lineage:
    """The lineage of the attempt after ``earlier``, all of them failed."""
    last, project = earlier[-1], projects[len(earlier)]
    number = len(earlier) + 1
    changed = {
        "id": f"{last.lineage.retraining_id}-{number}",
        "attempt": number,
        "strategy": project.config.run.strategy,
        "params_digest": project.config.digest(),
        "reason": f"attempt {last.lineage.attempt}, {last.lineage.strategy}, ended in {last.outcome}",
        "mlflow_run_id": None,
        "bundle_sha256": None,
    }
    return last.lineage.model_copy(update=changed)


def conclude(project: Project, lineage: Lineage, ended: TrainResult | TrainingError) -> Attempt:
    """The result of an attempt; a failed one is put aside and, with its best bundle, noted on its MLflow run."""
    opened = store.open_store(project.config, project.root)
    attempt = _attempt(project, lineage, ended)
    if attempt.failed:
        _move(project, attempt)
    if run_id := runs.run_id_of(opened, attempt.lineage):
        bundle = project.root / attempt.bundle if attempt.bundle else None
        runs.conclude_attempt(opened, run_id, attempt, bundle)
    return attempt


def _attempt(project: Project, lineage: Lineage, ended: TrainResult | TrainingError) -> Attempt:
    if isinstance(ended, TrainingError):
        outcome = str(ended)
        return Attempt(lineage=lineage, status="failed", outcome=outcome, failed=True, best_success=None, bundle=None)
    verdict = ended.verdict
    folder = _attempt_folder(project, ended.lineage) if verdict.failed else project.train
    return Attempt(
        lineage=ended.lineage,
        status=verdict.status,
        outcome=f"{verdict.status}: {verdict.reason}",
        failed=verdict.failed,
        best_success=ended.best_success,
        bundle=os.path.relpath(folder / "bundle", project.root),
    )


def _attempt_folder(project: Project, lineage: Lineage) -> Path:
    return project.attempts / f"{lineage.attempt}-{lineage.strategy}"


def _move(project: Project, attempt: Attempt) -> None:
    folder = _attempt_folder(project, attempt.lineage)
    shutil.rmtree(folder, ignore_errors=True)
    attempt.write(project.train / RECORD)
    folder.parent.mkdir(parents=True, exist_ok=True)
    project.train.rename(folder)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing goes on from a failure


def earlier(project: Project) -> tuple[Attempt, ...]:
    """The failed attempts in their order, up to one that cannot be read."""
    found = []
    for number in range(1, 100):
        records = sorted(project.attempts.glob(f"{number}-*/{RECORD}"))
        try:
            found += [Attempt.read(records[0])]
        except (IndexError, OSError, ValueError):
            break
    return tuple(found)


def best(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt with the best bundle; None if none has one."""
    with_bundle = [attempt for attempt in attempts if attempt.bundle]
    return max(with_bundle, key=lambda attempt: attempt.best_success or 0.0, default=None)


def failure(attempts: Sequence[Attempt], diagnosis: Diagnosis | None) -> PlanFailedError:
    """The error when all attempts have failed: the result of each, and the verdict of the diagnosis."""
    results = "; ".join(f"{attempt.lineage.strategy}: {attempt.outcome}" for attempt in attempts)
    found = diagnosis.verdict.partition(". ")[0].rstrip(".") if diagnosis else "there is no bundle to diagnose"
    return PlanFailedError(f"every strategy of the plan failed: {results}. Diagnosis: {found}")
