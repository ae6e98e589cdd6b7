"""Made-up runs of the study: a training's result, the assignment it belongs to, and its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlynr.config.config import Config
from hlynr.records.stability import StabilityPoint, StabilityRun
from hlynr.records.training import EvaluationPoint, Lineage, MonitorVerdict, TrainResult
from hlynr.studies.stability.assignments import Assignment

INTERVAL = 200_000
"""Timesteps between evaluations."""
RISING = (0.1, 0.5, 0.8, 0.9, 0.9, 0.9)
SHA = "ab" * 32


def points(success: tuple[float, ...], std: float | None = 0.5) -> tuple[EvaluationPoint, ...]:
    """One evaluation per rate."""
    return tuple(
        EvaluationPoint(
            timesteps=INTERVAL * number,
            episodes=200,
            success_rate=rate,
            mean_reward=2 * rate - 1,
            mean_final_distance=900 * (1 - rate),
            std=std,
            action_saturation=std,
        )
        for number, rate in enumerate(success, start=1)
    )


def result(success: tuple[float, ...] = RISING, **changes: Any) -> TrainResult:
    """A finished training."""
    verdict = MonitorVerdict(
        status="healthy",
        reason="",
        stopped=False,
        at_timesteps=INTERVAL * len(success),
        peak_success=max(success),
        peak_timesteps=INTERVAL * (success.index(max(success)) + 1),
        final_success=success[-1],
    )
    values: dict[str, Any] = {
        "lineage": Lineage(
            id="a", created="2026-11-23T18:05:30+00:00", retraining=0, params_digest="d", git_commit="c" * 40
        ),
        "algorithm": "ppo",
        "scenario": "reference",
        "seed": 1,
        "device": "cpu",
        "timesteps": verdict.at_timesteps,
        "budget": verdict.at_timesteps,
        "interrupted": False,
        "resumed_from": None,
        "seconds": 60.0,
        "timesteps_per_second": 20_000.0,
        "best_timesteps": verdict.peak_timesteps,
        "best_success": verdict.peak_success,
        "verdict": verdict,
        "bundle": "bundle",
        "bundle_sha256": SHA,
        "evaluations": points(success),
    }
    return TrainResult(**values | changes)


def assignment(root: Path, config: Config, strategy: str = "default", seed: int = 1) -> Assignment:
    """A run of ``strategy`` with ``seed``, whatever it would change in the configuration."""
    run = config.run.model_copy(update={"strategy": strategy})
    changed = config.train.model_copy(update={"seed": seed})
    whole = config.model_copy(update={"run": run, "train": changed})
    return Assignment(root=str(root), folder=str(root / "outputs/study"), config=whole, stop_on=("collapse",))


def run(strategy: str = "default", seed: int = 1, std: float | None = 0.5, **changes: Any) -> StabilityRun:
    """A run that has ended."""
    values: dict[str, Any] = {
        "strategy": strategy,
        "algorithm": "ppo",
        "scenario": "reference",
        "capture_radius": 150.0,
        "seed": seed,
        "digest": "d",
        "lineage_id": "a",
        "git_commit": "c" * 40,
        "git_dirty": False,
        "budget": 1_200_000,
        "timesteps": 1_200_000,
        "seconds": 60.0,
        "timesteps_per_second": 20_000.0,
        "final_success": 0.9,
        "peak_success": 0.9,
        "peak_timesteps": 800_000,
        "window": 3,
        "final_window_success": 0.9,
        "peak_window_success": 0.9,
        "final_over_peak": 1.0,
        "collapsed": False,
        "alerts": {},
        "stop_on": ("collapse",),
        "stopped_at": None,
        "best_timesteps": 800_000,
        "best_success": 0.9,
        "bundle_sha256": SHA,
        "heldout_seed": 3_000_017,
        "heldout_episodes": 1000,
        "heldout_success_rate": 0.9,
        "heldout_success_rate_ci": (0.88, 0.92),
        "confidence": 0.95,
        "heldout_mean_reward": 0.8,
        "heldout_mean_final_distance": 90.0,
        "points": tuple(
            StabilityPoint(**point.model_dump(include=set(StabilityPoint.model_fields)))
            for point in points(RISING, std)
        ),
    }
    return StabilityRun(**values | changes)
