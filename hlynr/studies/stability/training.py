"""One run of a stability study in a process of its own: `python -m hlynr.studies.stability.training`.

It trains, judges the best bundle and writes the record; request and progress travel by `hlynr.runtime.processes`.
"""

import sys
import time
from pathlib import Path

from hlynr.config.sections import Monitor
from hlynr.records.evaluation import PolicyReport
from hlynr.records.stability import StabilityPoint, StabilityRun
from hlynr.records.training import AlertKind, Lineage, TrainResult
from hlynr.runtime import processes
from hlynr.runtime.errors import InputError
from hlynr.runtime.progress import ProgressObserver
from hlynr.studies.stability.assignments import RECORD, Assignment

COMMAND = [sys.executable, "-P", "-m", "hlynr.studies.stability.training"]
RESULT = "result.json"


def main() -> int:
    return processes.serve(lambda text, channel: train_and_judge(Assignment.model_validate_json(text), channel))


def train_and_judge(run: Assignment, observer: ProgressObserver) -> None:
    """Train, from the last checkpoint of this configuration where there is one, and judge the best bundle.

    Raises:
        KeyboardInterrupt: once the checkpoint is written, if the training was interrupted.
    """
    result = _result(run) or _train(run, observer)
    if result.interrupted:
        raise KeyboardInterrupt
    judge_run(run, result)


def _train(run: Assignment, observer: ProgressObserver) -> TrainResult:
    """Waits for the process of a killed study, which stops by itself."""
    from hlynr.ops.tracking import lineage
    from hlynr.rl.train import TrainingBusyError, train

    deadline = time.monotonic() + processes.PATIENCE
    while True:
        known = _checkpoint_lineage(run)
        try:
            begun = known or lineage.start(run.config, Path(run.root))
            return train(run.config, run.out, begun, progress_to=[observer], resume=known is not None)
        except TrainingBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _result(run: Assignment) -> TrainResult | None:
    """Of a training that has ended and has not been judged."""
    known = _checkpoint_lineage(run)
    try:
        result = TrainResult.read(run.out / RESULT)
    except (OSError, ValueError):
        return None
    return result if known and known.id == result.lineage.id and not result.interrupted else None


def _checkpoint_lineage(run: Assignment) -> Lineage | None:
    """None where there is no checkpoint, or one of another configuration or version."""
    from hlynr.rl import checkpoint
    from hlynr.rl.train import training_digest

    try:
        return checkpoint.lineage_of(run.out / "checkpoints", training_digest(run.config))
    except checkpoint.CheckpointError:
        return None


def judge_run(run: Assignment, result: TrainResult) -> StabilityRun:
    """Judge the best bundle in the run's folder, and write the record there.

    Raises:
        InputError: if the bundle is not the training's or cannot be trusted.
    """
    from hlynr.evaluation import judge
    from hlynr.rl import bundle as bundles

    config, bundle = run.config, run.out / "bundle"
    if bundles.digest(bundle) != result.bundle_sha256:
        raise InputError(f"{bundle}: is not the bundle of the training beside it")
    policy = bundles.load_policy(bundle, threads=config.train.torch_threads)
    heldout = judge.SeedSet(config.train.scenario, config.heldout_seed, config.evaluation.heldout_episodes)
    report, _ = judge.report_on(policy, config, heldout)
    record = _record(run, result, report)
    record.write(run.out / RECORD)
    return record


def _record(run: Assignment, result: TrainResult, heldout: PolicyReport) -> StabilityRun:
    from hlynr.rl.monitor import window_means
    from hlynr.rl.train import training_digest

    config = run.config
    means = window_means(result.evaluations, config.monitor.window)
    peak = max(means, default=0.0)
    alerts = first_alerts(result, config.monitor)
    fields = set(StabilityRun.model_fields)
    return StabilityRun(
        **result.model_dump(include=fields - {"strategy"}),
        **result.verdict.model_dump(include={"final_success", "peak_success", "peak_timesteps"}),
        **result.lineage.model_dump(include={"git_commit", "git_dirty"}),
        **{f"heldout_{name}": value for name, value in heldout.model_dump().items() if f"heldout_{name}" in fields},
        strategy=config.run.strategy,
        capture_radius=heldout.capture_radius,
        digest=training_digest(config),
        lineage_id=result.lineage.id,
        window=config.monitor.window,
        final_window_success=means[-1] if means else None,
        peak_window_success=max(means) if means else None,
        final_over_peak=means[-1] / peak if peak > 0.0 else None,
        collapsed="collapse" in alerts,
        alerts=alerts,
        stop_on=run.stop_on,
        stopped_at=min((alerts[kind] for kind in run.stop_on if kind in alerts), default=None),
        confidence=config.gate.confidence,
        points=points(result),
    )


def points(result: TrainResult) -> tuple[StabilityPoint, ...]:
    """The evaluations of a training, in short."""
    fields = set(StabilityPoint.model_fields)
    return tuple(StabilityPoint(**point.model_dump(include=fields)) for point in result.evaluations)


def first_alerts(result: TrainResult, monitor: Monitor) -> dict[AlertKind, int]:
    """Timesteps at which the monitor, asked after every evaluation, first raised each alert, in that order."""
    from hlynr.rl.monitor import judge

    first: dict[AlertKind, int] = {}
    for number, point in enumerate(result.evaluations, start=1):
        for alert in judge(result.evaluations[:number], monitor).alerts:
            first.setdefault(alert.kind, point.timesteps)
    if result.verdict.status == "nan":  # perhaps in a weight, which no evaluation shows
        first.setdefault("nan", result.verdict.at_timesteps)
    return first


if __name__ == "__main__":
    sys.exit(main())
