"""Statuses of trainings, made up for the tests of what shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hlynr.records.training import EvaluationPoint, Lineage, MonitorVerdict, TrainingStatus, TrainProgress
from hlynr.rl.monitor import judge

INTERVAL = 200_000
RISING = (0.05, 0.3, 0.62, 0.8, 0.86, 0.9, 0.93)
NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
RUN_ID = "6f4e3474021140a7a16c58b0d93227ae"
LINEAGE = Lineage(
    id="20261123-180530-4f2a9c",
    created="2026-11-23T18:05:30+00:00",
    retraining=3,
    params_digest="0" * 64,
    mlflow_run_id=RUN_ID,
)


def stream(rates: Sequence[float], reward: float = 0.0) -> list[EvaluationPoint]:
    """One evaluation per rate, every `INTERVAL`, without the signs of the training."""
    return [
        EvaluationPoint(
            timesteps=(k + 1) * INTERVAL,
            episodes=200,
            success_rate=rate,
            mean_reward=reward,
            mean_final_distance=100.0,
        )
        for k, rate in enumerate(rates)
    ]


def points(success: Sequence[float], **changes: Any) -> tuple[EvaluationPoint, ...]:
    """One evaluation per rate, every `INTERVAL`, with every sign measured."""
    return tuple(
        EvaluationPoint.model_validate(
            {
                "timesteps": INTERVAL * (k + 1),
                "episodes": 200,
                "success_rate": rate,
                "mean_reward": 2 * rate - 1,
                "mean_final_distance": 900 * (1 - rate),
                "training_radius": 150.0,
                "std": 0.6 - 0.01 * k,
                "action_saturation": 0.1,
                "value_loss": 0.05,
                "approx_kl": 0.012,
                "explained_variance": 0.9,
            }
            | changes
        )
        for k, rate in enumerate(success)
    )


def status(settings: Any, success: Sequence[float] = RISING, **changes: Any) -> TrainingStatus:
    """A training that runs in this very process, judged under ``settings``; ``changes`` are fields of the status."""
    evaluations = changes.pop("evaluations", points(success))
    verdict: MonitorVerdict = judge(evaluations, settings)
    reached, budget = INTERVAL * len(evaluations), changes.pop("budget", 3_000_000)
    newest = evaluations[-1] if evaluations else None
    fields: dict[str, Any] = {
        "lineage": LINEAGE,
        "strategy": "default",
        "algorithm": "ppo",
        "scenario": "reference",
        "seed": 4,
        "state": "running",
        "process": os.getpid(),
        "machine": platform.node(),
        "updated": NOW,
        "seconds": 65.0,
        "progress": TrainProgress(
            device="cpu",
            timesteps=reached,
            budget=budget,
            success_rate=newest.success_rate if newest else None,
            best_success=verdict.peak_success,
            mean_reward=newest.mean_reward if newest else None,
            timesteps_per_second=21_500.0,
            eta_seconds=(budget - reached) / 21_500,
        ),
        "window": settings.window,
        "verdict": verdict,
        "evaluations": evaluations,
    }
    return TrainingStatus(**(fields | changes))
