"""The nightly retraining: validate -> train -> version -> evaluate -> gate -> promote.

``train`` tries the strategies of the plan until one does not fail; when all have, the retraining ends in a diagnosis.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import Task

from flows import alerts, scheduling
from flows.artifacts import ProgressArtifact, table
from hlynr.config import params
from hlynr.config.project import Project
from hlynr.ops.retention import prune as retention_prune
from hlynr.pipeline import plan, preflight, retraining, steps, training_process
from hlynr.pipeline.retraining import given_up_on_error
from hlynr.records.evaluation import EvaluationReport, GateDecision
from hlynr.records.retraining import Attempt, RetrainRecord
from hlynr.records.training import Lineage, TrainResult
from hlynr.report import tables
from hlynr.runtime import processes, scratch, streams
from hlynr.runtime.errors import EnvironmentNotReady, TrainingError, as_user_error
from hlynr.runtime.progress import console


def _worth_repeating(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a retry can help: after a crash, which is logged, not after an error that the user must mend."""
    error = state.result(raise_on_failure=False)
    if as_user_error(error) is not None and not isinstance(error, processes.TrainingCrashedError):
        return False
    _say(f"{task.name} again, after {error!r}")
    return True


@task(name="validate", cache_policy=NO_CACHE)
def validate(
    root: str, params_file: str, overrides: list[str], resume: bool, unattended: bool
) -> retraining.Retraining:
    """Read the configuration under every strategy of the plan, check the machine, number the retraining.

    Unattended, an interrupted retraining that cannot be resumed is abandoned.
    """
    folder = Path(root).resolve()
    projects = [Project(folder, config) for config in params.load_plan(folder / params_file, overrides)]
    preflight.require_ready(projects[0], unattended=unattended)
    flow_run_id = str(runtime.flow_run.id)
    try:
        return retraining.begin(projects, flow_run_id, resume=resume, unattended=unattended)
    except Exception as error:
        if not (unattended and resume) or isinstance(as_user_error(error), EnvironmentNotReady):
            raise
        _say(f"a new retraining, since {error}")
        return retraining.begin(projects, flow_run_id)


@task(name="train", cache_policy=NO_CACHE, retry_condition_fn=_worth_repeating)
def train(project: Project, lineage: Lineage, resume: bool) -> TrainResult:
    """Train in a child process; a repeated run goes on from the last checkpoint."""
    artifact = ProgressArtifact(project.config.retrain.progress_interval)
    repeated = (runtime.task_run.run_count or 1) > 1
    with console() as terminal:
        return training_process.train(project, lineage, resume=resume or repeated, observers=[terminal, artifact])


@task(name="evaluate", cache_policy=NO_CACHE, retries=1, retry_condition_fn=_worth_repeating)
def evaluate(project: Project) -> EvaluationReport:
    """Judge the best bundle; the same engagements again if it has to be repeated."""
    report = steps.evaluate(project)
    table("evaluation", tables.report_rows(report), "100 episodes against the targets, and the held-out engagements")
    return report


@task(name="gate", cache_policy=NO_CACHE, retries=1, retry_condition_fn=_worth_repeating)
def gate(project: Project, result: TrainResult, report: EvaluationReport) -> GateDecision:
    decision = steps.gate(project, result, report)
    table("gate", tables.gate_rows(decision), decision.reason)
    return decision


conclude_attempt = task(name="conclude attempt", cache_policy=NO_CACHE)(plan.conclude)
diagnose = task(name="diagnose", cache_policy=NO_CACHE)(steps.diagnose_failure)
version = task(name="version", cache_policy=NO_CACHE, retries=1, retry_condition_fn=_worth_repeating)(steps.version)
promote = task(name="promote", cache_policy=NO_CACHE, retries=1, retry_condition_fn=_worth_repeating)(steps.promote)
prune = task(name="prune", cache_policy=NO_CACHE)(retention_prune.prune)


@flow(name="retrain", validate_parameters=False, on_failure=[alerts.ended], on_crashed=[alerts.ended])
def retrain(
    root: str = ".",
    params_file: str = "params.yaml",
    overrides: list[str] | None = None,
    resume: bool = False,
    unattended: bool = False,
) -> RetrainRecord | State[Any]:
    """One retraining, from params.yaml to a decision about the champion; one at a time in a project, and on the GPU.

    Args:
        root: the project folder.
        params_file: relative to ``root``.
        overrides: as the CLI's ``--set``.
        resume: go on with the retraining that was interrupted, if there is one.
        unattended: with no user to answer an error: wait for the project, give way to a later retraining that
            has come due meanwhile, end with the worker, send alerts.

    Returns:
        The record; to Prefect as the result of a state whose message is the decision.
    """
    if unattended:
        streams.guard()
        scratch.claim()
        scheduling.end_with_worker()
    with scheduling.gpu_slot(Path(root).resolve(), wait=unattended) as missed:
        if missed:
            return missed
        record = _retraining(root, params_file, overrides or [], resume, unattended)
    return Completed(message=record.promotion.reason, data=record)


def _retraining(root: str, params_file: str, overrides: list[str], resume: bool, unattended: bool) -> RetrainRecord:
    seconds: dict[str, float] = {}
    retraining = _timed(seconds, "validate", validate, root, params_file, overrides, resume, unattended)
    with given_up_on_error(retraining), steps.reported_retraining(retraining.projects[0], retraining.lineage):
        project, result, attempts = _trained(seconds, retraining, resume)
        _timed(seconds, "version", version, project, result.lineage)
        report = _timed(seconds, "evaluate", evaluate, project)
        saved = _timed(seconds, "version", version, project, result.lineage)
        decision = retraining.decision or _timed(seconds, "gate", gate, project, result, report)
        promotion = _timed(seconds, "promote", promote, project, result, report, decision, saved)
        alerts.decided(project, promotion)
        record = steps.conclude(project, result, report, decision, promotion, saved, seconds, attempts)
    if unattended and project.config.retention.after_retraining:
        _pruned(project)
    return record


def _pruned(project: Project) -> None:
    """Prune; the decision of the retraining holds even if this fails."""
    try:
        faults = _timed({}, "prune", prune, project).faults
    except Exception as error:  # whatever the stores, git and the disk raise
        faults = (str(error),)
    for fault in faults:
        _say(f"prune: {fault}")


def _trained(
    seconds: dict[str, float], retraining: retraining.Retraining, resume: bool
) -> tuple[Project, TrainResult, list[Attempt]]:
    """One strategy of the plan after another until a training does not fail."""
    attempts, lineage = list(retraining.earlier), retraining.lineage
    for project in retraining.projects[len(attempts) :]:
        if len(attempts) > len(retraining.earlier):
            lineage = plan.following(retraining.projects, attempts)
            _say(f"attempt {lineage.attempt} of {len(retraining.projects)}, {lineage.strategy}: {lineage.reason}")
        settings = project.config.retrain
        training = train.with_options(retries=settings.retries, retry_delay_seconds=settings.retry_delay)
        try:
            ended: TrainResult | TrainingError = _timed(seconds, "train", training, project, lineage, resume)
        except processes.TrainingCrashedError:
            raise
        except TrainingError as error:
            ended = error
        attempts.append(conclude_attempt(project, lineage, ended))
        alerts.attempted(project, attempts[-1])
        if isinstance(ended, TrainResult) and not attempts[-1].failed:
            return project, ended, attempts
    raise _timed(seconds, "diagnose", diagnose, retraining.projects[-1], attempts)


def _timed(seconds: dict[str, float], step: str, run: Callable[..., Any], *args: Any) -> Any:
    """Run a step, and add its wall time."""
    _say(step)
    start = time.monotonic()
    try:
        return run(*args)
    finally:
        seconds[step] = seconds.get(step, 0.0) + time.monotonic() - start


def _say(line: str) -> None:
    print(f"{line} ...", file=sys.stderr, flush=True)
