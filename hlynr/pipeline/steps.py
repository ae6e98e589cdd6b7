"""The steps of a retraining: a project in, a record out. The command line, DVC and Prefect call these.

`hlynr.pipeline.commands` has the use cases beside a retraining. Heavy libraries are imported inside the functions, so
that a command starts quickly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hlynr.config.project import Project
from hlynr.ops.registry import pages, versions
from hlynr.ops.registry import promotion as promotions
from hlynr.ops.tracking import abandoned, metrics, runs, store
from hlynr.ops.tracking import lineage as lineages
from hlynr.ops.tracking.metric_stream import MetricStream
from hlynr.ops.versioning import experiments
from hlynr.pipeline import diagnosis, plan, retraining
from hlynr.pipeline.plan import PlanFailedError
from hlynr.records.evaluation import EvaluationReport, GateDecision, HeldoutSuccess, PairedComparison
from hlynr.records.retraining import Attempt, Promotion, RetrainRecord, VersionRecord
from hlynr.records.training import Lineage, TrainProgress, TrainResult
from hlynr.report import descriptions
from hlynr.runtime.errors import DONE, INTERRUPTED, TRAINING_FAILED
from hlynr.runtime.progress import ProgressObserver

if TYPE_CHECKING:
    import numpy as np

HELDOUT = "heldout.json"
"""Name of the `HeldoutSuccess` in an evaluation's folder."""


def exit_code(result: TrainResult) -> int:
    """The exit code of a command that trained."""
    if result.interrupted:
        return INTERRUPTED
    return TRAINING_FAILED if result.verdict.failed else DONE


def train(
    project: Project,
    lineage: Lineage | None = None,
    *,
    out: Path | None = None,
    resume: bool = False,
    observers: Sequence[ProgressObserver] = (),
) -> TrainResult:
    """Train; metrics go to the lineage's MLflow run, progress to ``observers``.

    With ``resume`` a training that was killed goes on from its last checkpoint, under its own lineage and run; if
    ``lineage`` is given, only a checkpoint of that one.
    """
    from hlynr.rl import train as training

    out = out or project.train
    device = training.resolve_device(project.config.train.device)  # before anything is written
    project.remove_left()
    begun = retraining.begun(project, lineage, out) if resume else None
    lineage = begun or lineage or lineages.start(project.config, project.root)
    opened = store.open_store(project.config, project.root)
    run_id = runs.start_run(opened, lineage, project.config, abandoned.of_process())
    runs.set_device(opened, run_id, device, out)
    abandoned.claim(opened, run_id)
    lineage = lineage.model_copy(update={"mlflow_run_id": run_id})
    parent_run_id = lineage.mlflow_parent_run_id
    closed = runs.closed_on_error(opened, [run_id, parent_run_id], "The training ended without a result")
    with closed, closing(MetricStream(opened, run_id, out / "unsent-metrics.jsonl")) as stream:
        result = training.train(
            project.config, out, lineage, resume=begun is not None, progress_to=observers, metrics_to=[stream]
        )
        for observer in observers:
            observer.progress(TrainProgress.at_end(result))
    runs.set_lineage(opened, run_id, result.lineage)
    runs.finish_run(opened, run_id, "KILLED" if result.interrupted else "FINISHED", descriptions.run(result))
    if result.interrupted and parent_run_id:
        runs.finish_run(opened, parent_run_id, "KILLED", "Interrupted; --resume goes on with it.")
    return result


def evaluate(project: Project, *, bundle: Path | None = None, out: Path | None = None) -> EvaluationReport:
    """Judge a bundle on the report and held-out engagements; report, metrics and figures go to ``out``.

    The report also goes to the MLflow run in which the bundle was trained, where this project's store has it.

    Raises:
        hlynr.rl.bundle.BundleError: if the bundle cannot be trusted.
    """
    from hlynr.evaluation import judge
    from hlynr.report import stage
    from hlynr.rl import bundle as bundles

    bundle, out = bundle or project.bundle, out or project.evaluate
    lineage = Lineage.model_validate(bundles.read_manifest(bundle)["lineage"])
    policy, sha = bundles.load_policy(bundle, threads=project.config.train.torch_threads), bundles.digest(bundle)
    report, results = judge.evaluate(policy, project.config, lineage, sha)
    samples = judge.samples(policy, project.config)
    figures = stage.write(project.config, report, results, samples, _training_of(bundle, sha), out)
    success = tuple(results["policy"].success.tolist())
    HeldoutSuccess(bundle_sha256=sha, params_digest=project.config.digest(), success=success).write(out / HELDOUT)
    opened, run_id = store.open_store(project.config, project.root), lineage.mlflow_run_id
    if run_id and runs.has_run(opened, run_id):  # the bundle of another store has none here
        runs.log_report(opened, run_id, report, project.config, figures)
    return report


def version(project: Project, lineage: Lineage) -> VersionRecord | None:
    """Save the outputs of the stages so far as this retraining's DVC experiment; None where versioning is off.

    Called after the training, so that the checkpoint is safe, and again after the evaluation.
    """
    settings = project.config.versioning
    if not settings.enabled:
        return None
    name = experiments.experiment_names(lineage.id)[0]
    return experiments.save(project.root, name, project.config, push=settings.push)


def gate(project: Project, result: TrainResult, report: EvaluationReport) -> GateDecision:
    """Apply the gate; the champion, if there is one, runs the held-out engagements of the evaluation.

    Nothing is promoted in the place of a champion whose bundle cannot be fetched or trusted.
    """
    from hlynr.evaluation import gate as gates

    opened = store.open_store(project.config, project.root)
    try:
        comparison, unusable = _against_champion(project, opened, report), None
    except versions.UnusableBundleError as error:
        comparison, unusable = None, str(error)
    decision = gates.decide(report, result.verdict, comparison, project.config.gate)
    if unusable is not None:
        decision = gates.held_back(decision, unusable)
    if result.lineage.mlflow_run_id:
        runs.log_decision(opened, result.lineage.mlflow_run_id, decision)
    return decision


def promote(
    project: Project,
    result: TrainResult,
    report: EvaluationReport,
    decision: GateDecision,
    saved: VersionRecord | None = None,
) -> Promotion:
    """Register the bundle and carry out the decision; safe to repeat after a crash.

    Raises:
        hlynr.ops.tracking.store.StoreError: if the training has no MLflow run to register from.
    """
    opened = store.open_store(project.config, project.root)
    run_id = result.lineage.mlflow_run_id
    if run_id is None:
        raise store.StoreError("the training has no MLflow run; train it with this project's store")
    lineage = _completed(result.lineage, report, saved)
    if not runs.set_lineage(opened, run_id, lineage):  # a version leads to a run, so another one takes its place
        run_id = runs.begun_run(opened, lineage, project.config)
        lineage = lineage.model_copy(update={"mlflow_run_id": run_id})
    number = _registered(project, opened, run_id, report, lineage)
    promotion = promotions.apply_decision(opened, decision, number, report, lineage, run_id)
    report = report.model_copy(update={"lineage": lineage})
    runs.finish_run(opened, run_id, "FINISHED", descriptions.run(result, report, decision, promotion))
    pages.describe_version(opened, number, descriptions.version(result, report, decision, promotion))
    pages.describe_model(opened, descriptions.model)
    return promotion


def conclude(
    project: Project,
    result: TrainResult,
    report: EvaluationReport,
    decision: GateDecision,
    promotion: Promotion,
    saved: VersionRecord | None,
    seconds: Mapping[str, float],
    attempts: Sequence[Attempt] = (),
) -> RetrainRecord:
    """Write the whole retraining as one record, and log it on its MLflow run."""
    record = RetrainRecord(
        lineage=_completed(result.lineage, report, saved),
        attempts=tuple(attempts),
        train=result,
        evaluation=report,
        decision=decision,
        promotion=promotion,
        version=saved,
        seconds=dict(seconds),
    )
    record.write(project.record)
    if result.lineage.mlflow_parent_run_id:
        opened = store.open_store(project.config, project.root)
        figures = {
            "attempts": len(attempts),
            "report/success_rate": report.report.success_rate,
            **metrics.prefixed("heldout", metrics.merits(report.heldout)),
        }
        description = descriptions.retraining(attempts, promotion, decision, report)
        runs.conclude_retraining(opened, result.lineage.mlflow_parent_run_id, promotion.action, figures, description)
    return record


def _completed(lineage: Lineage, report: EvaluationReport, saved: VersionRecord | None) -> Lineage:
    """With the bundle's digest and the DVC experiment."""
    found: dict[str, str] = {"bundle_sha256": report.bundle_sha256}
    if saved:
        found |= {"dvc_experiment": saved.experiment, "dvc_revision": saved.revision}
    return lineage.model_copy(update=found)


def diagnose_failure(project: Project, attempts: Sequence[Attempt]) -> PlanFailedError:
    """After every attempt has failed: diagnose the best of their bundles and close the retraining's run.

    Returns:
        The error to end the retraining with.
    """
    chosen = plan.best(attempts)
    found = None
    if chosen is not None:
        name = f"attempt {chosen.lineage.attempt}, {chosen.lineage.strategy}"
        budget = project.config.retrain.diagnosis_timesteps
        found = diagnosis.examine(project, project.root / str(chosen.bundle), name=name, budget=budget)
    error = plan.failure(attempts, found)
    opened, run_id = store.open_store(project.config, project.root), attempts[0].lineage.mlflow_parent_run_id
    if run_id:
        if found:
            runs.log_folder(opened, run_id, project.diagnose, "diagnosis")
        figures = {"attempts": len(attempts)}
        description = descriptions.retraining(attempts, diagnosis=found)
        if not runs.conclude_retraining(opened, run_id, "failed", figures, description):
            runs.remember_failed(opened, attempts[0].lineage.retraining_id)
    return error


def _training_of(bundle: Path, sha: str) -> TrainResult | None:
    """The result of the training that made this very bundle, if it still lies beside it."""
    try:
        result = TrainResult.read(bundle.parent / "result.json")
    except (OSError, ValueError):
        return None
    return result if result.bundle_sha256 == sha else None


def reported_retraining(project: Project, lineage: Lineage) -> AbstractContextManager[None]:
    """Close the retraining's MLflow run when a step of it is interrupted or fails."""
    opened, run_ids = store.open_store(project.config, project.root), [lineage.mlflow_parent_run_id]
    return runs.closed_on_error(opened, run_ids, "Ended without a decision", unless=PlanFailedError)


def _against_champion(project: Project, opened: store.Store, report: EvaluationReport) -> PairedComparison | None:
    """Both policies on the same held-out engagements; None without a champion."""
    from hlynr.evaluation import gate as gates
    from hlynr.rl import bundle as bundles

    champion = versions.champion(opened)
    if champion is None:
        return None
    if bundles.digest(project.bundle) != report.bundle_sha256:
        raise bundles.BundleError(f"{project.bundle}: is not the bundle that was evaluated; evaluate it first")
    challenger_success = _challenger_success(project, report)
    with tempfile.TemporaryDirectory(prefix="hlynr-champion-") as folder:
        fetched = versions.fetch_bundle(opened, champion.version, Path(folder) / "bundle")
        try:
            champion_success = _heldout_success(project, fetched)
        except bundles.BundleError as error:
            raise versions.UnusableBundleError(f"version {champion.version} cannot be run: {error}") from error
    return gates.pair(challenger_success, champion_success, champion.version)


def _challenger_success(project: Project, report: EvaluationReport) -> np.ndarray:
    """As the evaluation has recorded it, or run now if there is no record of this bundle and configuration."""
    import numpy as np

    with suppress(OSError, ValueError):
        found = HeldoutSuccess.read(project.evaluate / HELDOUT)
        if (found.bundle_sha256, found.params_digest) == (report.bundle_sha256, project.config.digest()):
            return np.array(found.success)
    return _heldout_success(project, project.bundle)


def _heldout_success(project: Project, bundle: Path) -> np.ndarray:
    from hlynr.evaluation import judge
    from hlynr.rl import bundle as bundles

    policy = bundles.load_policy(bundle, threads=project.config.train.torch_threads)
    return judge.run_seed_set(policy, project.config, judge.heldout_set(project.config)).success


def _registered(project: Project, opened: store.Store, run_id: str, report: EvaluationReport, lineage: Lineage) -> int:
    """The number of the bundle's model version, registered now unless an earlier attempt has done it."""
    from hlynr.evaluation import judge
    from hlynr.ops.registry import logged_model

    known = versions.registered(opened, run_id, report.bundle_sha256)
    if known is not None:
        return known
    example = judge.example_histories(project.config)
    model_id, uri = logged_model.log_bundle(opened, run_id, project.bundle, report, lineage, project.config, example)
    return versions.register(opened, run_id, uri, model_id, report.bundle_sha256, report, lineage)
