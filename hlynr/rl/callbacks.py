"""The work between rollouts: evaluation, best checkpoint, monitor, resumable checkpoint, progress."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter
from stable_baselines3.common.policies import ActorCriticPolicy

from hlynr.config.config import Config
from hlynr.envs.reward import TERMS
from hlynr.evaluation.rollout import run_episodes
from hlynr.records.training import STATUS, EvaluationPoint, MonitorVerdict, TrainingState, TrainingStatus, TrainProgress
from hlynr.rl import bundle, checkpoint
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.curriculum import RadiusCurriculum
from hlynr.rl.monitor import WEIGHT, judge, not_a_number
from hlynr.rl.network import NetworkPolicy
from hlynr.runtime.progress import MetricObserver, ProgressObserver

STATUS_INTERVAL = 2.0
"""[s] between two writes of the status file."""


class MetricWriter(KVWriter):
    """Passes the figures of SB3's logger to observers."""

    def __init__(self, observers: Sequence[MetricObserver]) -> None:
        self._observers = observers

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        numbers = {key: float(value) for key, value in key_values.items() if isinstance(value, int | float | np.number)}
        for observer in self._observers:
            observer.log(step, numbers)

    def close(self) -> None:
        """Nothing to release."""


class TrainingCallback(BaseCallback):
    """Evaluates, monitors and saves a training; all intervals are in timesteps over all environments.

    Args:
        stop_requested: asked between rollouts; true ends the training there, with a checkpoint.
    """

    def __init__(
        self,
        config: Config,
        out: Path,
        env: InterceptVecEnv,
        progress: checkpoint.Progress,
        digest: str,
        progress_to: Sequence[ProgressObserver],
        metrics_to: Sequence[MetricObserver],
        stop_requested: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.config, self.out, self.env, self.state = config, out, env, progress
        self.verdict: MonitorVerdict = judge(progress.points, config.monitor)
        self.interrupted = False
        self._digest, self._stop_requested = digest, stop_requested
        self._progress_to, self._metrics_to = progress_to, metrics_to
        self._halt = self.verdict.stopped  # a checkpoint from the moment of a verdict goes no further
        self._curriculum = RadiusCurriculum(config)
        if progress.curriculum:
            self._curriculum.load_state_dict(progress.curriculum)
        env.set_capture_radius(self._curriculum.radius)
        self._saturation: float | None = None
        self._next_status = 0.0
        self._started = time.monotonic()
        self._seconds_before, self._timesteps_before = progress.seconds, 0

    @property
    def seconds(self) -> float:
        """Wall time of the training, also before a resume."""
        return self._seconds_before + time.monotonic() - self._started

    def _on_training_start(self) -> None:
        self._timesteps_before = self.num_timesteps

    def _on_rollout_start(self) -> None:
        if not self._finite():
            self._not_a_number()
            return
        if self.num_timesteps >= self.state.next_evaluation:
            self.evaluate()
            self.state.next_evaluation += self.config.monitor.interval
            self._halt = self.verdict.stopped
        self.interrupted = self._stop_requested()
        if self.interrupted or self.num_timesteps >= self.state.next_checkpoint:
            self._save_checkpoint()
        self._halt = self._halt or self.interrupted
        self._report()

    def _on_step(self) -> bool:
        if self._halt:
            # SB3 asks only after a step; nothing was learned from this one.
            self.model.num_timesteps -= self.env.num_envs
            self.num_timesteps = self.model.num_timesteps
        return not self._halt

    def _on_rollout_end(self) -> None:
        finished, successes = self.env.take_finished()
        self.logger.record("rollout/capture_radius", self._curriculum.radius)
        if self._curriculum.advance(self.num_timesteps, len(finished), successes):
            self.env.set_capture_radius(self._curriculum.radius)
        if len(finished):
            for term, value in zip(TERMS, finished.mean(axis=0), strict=True):
                self.logger.record(f"reward/{term}", float(value))
        actions = self.model.rollout_buffer.actions  # type: ignore[attr-defined]  # both algorithms are on-policy
        self._saturation = float((np.abs(actions) > 1.0).mean())
        self.logger.record("rollout/action_saturation", self._saturation)
        self.logger.record("time/sps", self._rate())

    def finish(self) -> None:
        """Evaluate the last update, unless it has just been evaluated or is not finite."""
        if not self._finite():
            self._not_a_number()
        elif not self.state.points or (self.state.points[-1].timesteps < self.num_timesteps and not self._halt):
            self.evaluate()
            self.verdict = self.verdict.model_copy(update={"stopped": False})  # it came too late to stop anything

    def evaluate(self) -> None:
        """One evaluation on the selection seeds: point, verdict, and the best bundle if it is the best."""
        monitor, train = self.config.monitor, self.config.train
        policy = NetworkPolicy(train.algorithm, cast(ActorCriticPolicy, self.model.policy))
        results = run_episodes(
            policy,
            self.config,
            train.scenario,
            seed=monitor.selection_seed,
            episodes=monitor.episodes,
            batch_size=self.config.evaluation.batch_size,
        )
        point = EvaluationPoint(
            timesteps=self.num_timesteps,
            episodes=monitor.episodes,
            success_rate=float(results.success.mean()),
            mean_reward=float(results.reward.mean()),
            mean_final_distance=float(results.final_distance.mean()),
            training_radius=self._curriculum.radius,
            std=float(policy.std.mean()),
            action_saturation=self._saturation,
            **self._newest_update(),
        )
        self.state.points.append(point)
        self.verdict = judge(self.state.points, monitor)
        if self.state.best is None or _rank(point) > _rank(self.state.best):
            self._keep_best(point)
        self._log(self._evaluation_metrics(point))

    def _newest_update(self) -> dict[str, float]:
        """Figures that SB3 has logged and not written yet."""
        logged = self.logger.name_to_value
        names = ("value_loss", "approx_kl", "explained_variance")
        return {name: float(logged[f"train/{name}"]) for name in names if f"train/{name}" in logged}

    def _keep_best(self, point: EvaluationPoint) -> None:
        self.state.best = point
        self.state.best_weights = {
            name: tensor.detach().cpu().clone() for name, tensor in self.model.policy.state_dict().items()
        }
        self.save_bundle()

    def save_bundle(self) -> str:
        """Write the best weights as the bundle; returns its digest, the same however often the training is resumed."""
        assert self.state.best is not None
        return bundle.save(
            self.out / "bundle",
            self.state.best_weights,
            self.config,
            self.state.lineage.model_copy(update={"flow_run_id": None}),  # another one after each resume
            timesteps=self.state.best.timesteps,
            success=self.state.best.success_rate,
        )

    def _save_checkpoint(self) -> None:
        interval = self.config.train.checkpoint_interval
        self.state.next_checkpoint = (self.num_timesteps // interval + 1) * interval
        self.state.seconds = self.seconds
        self.state.curriculum = self._curriculum.state_dict()
        checkpoint.save(self.out / "checkpoints", self.model, self.env, self.state, self._digest)  # type: ignore[arg-type]

    def log_earlier(self) -> None:
        """Log the evaluations of the checkpoint again: those that were not yet sent were lost with the process."""
        for point in self.state.points:
            self._log(_point_metrics(point), point.timesteps)

    def _evaluation_metrics(self, point: EvaluationPoint) -> dict[str, float]:
        best = self.state.best or point
        return {
            **_point_metrics(point),
            "monitor/best_success": best.success_rate,
            "monitor/peak_success": self.verdict.peak_success,
        }

    def _log(self, values: dict[str, float], timesteps: int | None = None) -> None:
        for observer in self._metrics_to:
            observer.log(self.num_timesteps if timesteps is None else timesteps, values)

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.model.policy.parameters())

    def _not_a_number(self) -> None:
        self.verdict = not_a_number(self.state.points, self.config.monitor, self.num_timesteps, WEIGHT)
        self._log({"monitor/finite_weights": 0.0})
        self._halt = True

    def _rate(self) -> float:
        return (self.num_timesteps - self._timesteps_before) / max(time.monotonic() - self._started, 1e-9)

    def _report(self) -> None:
        progress = self.progress()
        for observer in self._progress_to:
            observer.progress(progress)
        if time.monotonic() >= self._next_status:
            self._next_status = time.monotonic() + STATUS_INTERVAL
            self.write_status("running", progress)

    def progress(self) -> TrainProgress:
        """The progress now."""
        newest = self.state.points[-1] if self.state.points else None
        rate, budget = self._rate(), self.config.train.timesteps
        return TrainProgress(
            device=self.model.device.type,
            timesteps=self.num_timesteps,
            budget=budget,
            success_rate=newest.success_rate if newest else None,
            best_success=self.state.best.success_rate if self.state.best else None,
            mean_reward=newest.mean_reward if newest else None,
            timesteps_per_second=rate,
            eta_seconds=max(budget - self.num_timesteps, 0) / rate if rate > 0 else float("inf"),
        )

    def write_status(self, state: TrainingState, progress: TrainProgress) -> None:
        """Write the status for `hlynr monitor`; an error of writing does not end the training."""
        train = self.config.train
        status = TrainingStatus(
            lineage=self.state.lineage,
            strategy=self.config.run.strategy,
            algorithm=train.algorithm,
            scenario=train.scenario,
            seed=self.config.train_seed,
            state=state,
            process=os.getpid(),
            machine=platform.node(),
            updated=datetime.now(UTC),
            seconds=self.seconds,
            progress=progress,
            window=self.config.monitor.window,
            verdict=self.verdict,
            evaluations=tuple(self.state.points),
        )
        with suppress(OSError):
            status.write(self.out / STATUS)


def _point_metrics(point: EvaluationPoint) -> dict[str, float]:
    return {
        "eval/success_rate": point.success_rate,
        "eval/mean_reward": point.mean_reward,
        "eval/mean_final_distance": point.mean_final_distance,
        **{f"monitor/{name}": value for name, value in point.signs().items()},
    }


def _rank(point: EvaluationPoint) -> tuple[float, float]:
    """Success first; among equals the mean reward, which depends on the miss distance."""
    return point.success_rate, point.mean_reward
