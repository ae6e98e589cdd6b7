"""One training, from a configuration to the best bundle."""

import hashlib
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.records.base import write_csv, write_text
from hlynr.records.training import STATUS, Lineage, TrainProgress, TrainResult
from hlynr.rl import algorithms, checkpoint
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.callbacks import MetricWriter, TrainingCallback
from hlynr.runtime import locks
from hlynr.runtime.errors import EnvironmentNotReady, TrainingError
from hlynr.runtime.progress import MetricObserver, ProgressObserver

RESULT = "result.json"


class TrainingBusyError(EnvironmentNotReady):
    """Another training writes to the same folder."""


class DeviceError(EnvironmentNotReady):
    """The configured device is not there."""


def resolve_device(wanted: str) -> str:
    """``auto`` is a GPU where there is one, else the CPU.

    Raises:
        DeviceError: if ``cuda`` is demanded and absent.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise DeviceError("train.device: cuda is not available here; use auto or cpu")
    return "cuda" if available and wanted != "cpu" else "cpu"


def training_digest(config: Config) -> str:
    """sha256 of the settings that a training depends on; a checkpoint is resumed only under the same one."""
    whole = config.model_dump(mode="json")
    relevant = {key: whole[key] for key in ("sim", "tracker", "reward", "train", "monitor")}
    relevant |= {"scenario": whole["scenarios"][config.train.scenario]}
    relevant |= {"night": config.run.retraining}  # its former name: checkpoints of earlier versions stay resumable
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def train(
    config: Config,
    out: Path,
    lineage: Lineage,
    *,
    resume: bool,
    progress_to: Sequence[ProgressObserver] = (),
    metrics_to: Sequence[MetricObserver] = (),
    on_stop: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Train to the budget or a verdict; the best bundle lies at ``out/bundle``.

    Ctrl-C or a termination signal ends the training after the current rollout, with a checkpoint and the best
    bundle so far; a second one at once. With ``resume`` it resumes the last checkpoint, if there is one,
    and on the CPU ends with bitwise the weights of an uninterrupted training.

    Args:
        on_stop: called when such a signal comes; one in the last rollout leaves the result as it is.

    Raises:
        TrainingError: if it ended before it made any usable policy.
        TrainingBusyError: if another training writes to ``out``.
        hlynr.rl.checkpoint.CheckpointError: if ``resume`` finds a checkpoint that cannot be resumed.
        DeviceError: if the configured device is absent.
    """
    device = resolve_device(config.train.device)
    busy = TrainingBusyError(f"{out}: another training is writing here; wait for it or choose another folder")
    with (
        locks.hold(out / ".lock", busy=busy, wait=0.0),
        torch_threads(config.train.torch_threads),
        _stop_signals(on_stop) as stop_requested,
    ):
        env = InterceptVecEnv(
            InterceptVectorEnv(config, config.train.scenario, num_envs=config.train.n_envs, seed=config.train_seed)
        )
        model = algorithms.make(config, env, device)
        digest = training_digest(config)
        progress = checkpoint.load(out / "checkpoints", model, env, digest) if resume else None
        resumed_from = model.num_timesteps if progress else None
        if progress is None:
            _clear(out)
            progress = checkpoint.Progress(
                lineage=lineage,
                next_evaluation=config.monitor.interval,
                next_checkpoint=config.train.checkpoint_interval,
            )
        progress.lineage = lineage  # newer than the checkpoint's: it names the resuming runs
        callback = TrainingCallback(config, out, env, progress, digest, progress_to, metrics_to, stop_requested)
        callback.log_earlier()
        _learn(model, callback, out, metrics_to)
        return _result(config, out, model.num_timesteps, callback, device, resumed_from)


def _learn(
    model: algorithms.Algorithm, callback: TrainingCallback, out: Path, metrics_to: Sequence[MetricObserver]
) -> None:
    logger = Logger(str(out), [TensorBoardOutputFormat(str(out / "tensorboard")), MetricWriter(metrics_to)])
    model.set_logger(logger)
    remaining = callback.config.train.timesteps - model.num_timesteps
    try:
        if remaining > 0:
            model.learn(remaining, callback=callback, reset_num_timesteps=False)
        else:
            callback.init_callback(model)
            callback.num_timesteps = model.num_timesteps
    except ValueError as error:
        # torch's distributions raise this for parameters that are not finite, which the callback reports.
        if "constraint" not in str(error):
            raise
    finally:
        logger.close()
    callback.finish()


def _result(
    config: Config, out: Path, timesteps: int, callback: TrainingCallback, device: str, resumed_from: int | None
) -> TrainResult:
    state = callback.state
    if state.best is None:
        callback.write_status("failed", callback.progress())
        raise TrainingError(f"training produced no usable policy: {callback.verdict.reason}")
    sha = callback.save_bundle()
    result = TrainResult(
        lineage=state.lineage.model_copy(update={"bundle_sha256": sha}),
        strategy=config.run.strategy,
        algorithm=config.train.algorithm,
        scenario=config.train.scenario,
        seed=config.train_seed,
        device=device,
        timesteps=timesteps,
        budget=config.train.timesteps,
        interrupted=callback.interrupted,
        resumed_from=resumed_from,
        seconds=callback.seconds,
        timesteps_per_second=timesteps / callback.seconds,
        best_timesteps=state.best.timesteps,
        best_success=state.best.success_rate,
        verdict=callback.verdict,
        bundle=str(out / "bundle"),
        bundle_sha256=sha,
        evaluations=tuple(state.points),
    )
    _write_outputs(out, result)
    callback.write_status("interrupted" if result.interrupted else "finished", TrainProgress.at_end(result))
    return result


def _write_outputs(out: Path, result: TrainResult) -> None:
    """DVC's metrics and plot beside the bundle; the whole result last."""
    rows = [(point.timesteps, point.success_rate, point.mean_reward) for point in result.evaluations]
    write_csv(out / "learning.csv", ("timesteps", "success_rate", "mean_reward"), rows)
    metrics: dict[str, Any] = {
        "best_success": result.best_success,
        "best_timesteps": result.best_timesteps,
        "final_success": result.verdict.final_success,
        "timesteps": result.timesteps,
        "verdict": result.verdict.status,
    }
    write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    result.write(out / RESULT)


def _clear(out: Path) -> None:
    """Remove an earlier training's files, so that two trainings are not mixed up."""
    for name in ("bundle", "checkpoints", "tensorboard"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("learning.csv", "metrics.json", RESULT, STATUS):
        (out / name).unlink(missing_ok=True)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _stop_signals(on_stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Turn the first interrupt or termination signal into a request; the second has its usual effect."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received.is_set  # only the main thread may install handlers
        return

    def request(number: int, frame: Any) -> None:
        received.set()
        on_stop()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, request)
    try:
        yield received.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
