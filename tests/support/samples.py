"""Sample records and engagements for the tests of `hlynr.report`."""

from __future__ import annotations

from typing import Any

import numpy as np

from hlynr.evaluation.recording import Trajectory
from hlynr.records.evaluation import (
    EvaluationReport,
    GateDecision,
    GateRule,
    PairedComparison,
    PolicyReport,
    Slice,
    TargetRow,
)
from hlynr.records.retraining import Promotion, RetrainRecord
from hlynr.records.training import EvaluationPoint, Lineage, MonitorVerdict, TrainResult

NAN = float("nan")
RISING = (0.05, 0.3, 0.62, 0.8, 0.86, 0.9, 0.915, 0.935, 0.94, 0.93)
LINEAGE = Lineage(
    id="20251102-031500-a1b2c3",
    created="2025-11-02T03:15:00+00:00",
    retraining=3,
    params_digest="0" * 64,
    git_commit="293b06a1f0e4d5c6b7a8901234567890abcdef12",
    git_dirty=True,
    dvc_experiment="retraining-3",
)


def training(success: tuple[float, ...] = RISING, **changes: Any) -> TrainResult:
    """A training with one evaluation per figure of ``success``, every 300,000 timesteps."""
    best = int(np.argmax(success)) if success else 0
    peak = success[best] if success else NAN
    points = [
        EvaluationPoint(
            timesteps=300_000 * (k + 1),
            episodes=200,
            success_rate=rate,
            mean_reward=2 * rate - 1,
            mean_final_distance=900 * (1 - rate),
        )
        for k, rate in enumerate(success)
    ]
    verdict = MonitorVerdict(
        status="healthy",
        reason="success rose to the end and no running mean fell below half of its best",
        stopped=False,
        at_timesteps=3_000_000,
        peak_success=peak,
        peak_timesteps=300_000 * (best + 1),
        final_success=success[-1] if success else NAN,
    )
    values: dict[str, Any] = {
        "lineage": LINEAGE,
        "algorithm": "ppo",
        "scenario": "reference",
        "seed": 4,
        "device": "cpu",
        "timesteps": 3_000_000,
        "budget": 3_000_000,
        "interrupted": False,
        "resumed_from": None,
        "seconds": 144.2,
        "timesteps_per_second": 20_804.0,
        "best_timesteps": 300_000 * (best + 1),
        "best_success": peak,
        "verdict": verdict,
        "bundle": "outputs/train/bundle",
        "bundle_sha256": "ab" * 32,
        "evaluations": tuple(points),
    }
    return TrainResult(**(values | changes))


def collapsed() -> TrainResult:
    """A training that rose to 88 % and fell to 2 %."""
    train = training((0.1, 0.4, 0.7, 0.85, 0.88, 0.8, 0.45, 0.2, 0.05, 0.02))
    verdict = train.verdict.model_copy(
        update={
            "status": "collapse",
            "stopped": True,
            "reason": "the mean success of the last 3 evaluations, 0.09, is below half of the best such mean, 0.843",
        }
    )
    return train.model_copy(update={"verdict": verdict})


def slice_(low: float, high: float, rate: float, episodes: int = 333) -> Slice:
    """A slice whose interval is 2.5 points to either side."""
    interval = (rate - 0.025, min(rate + 0.025, 1.0))
    return Slice(low=low, high=high, episodes=episodes, success_rate=rate, success_rate_ci=interval)


def policy(
    name: str = "policy", rate: float = 0.941, low: float = 0.9247, high: float = 0.954, **changes: Any
) -> PolicyReport:
    """A policy on the held-out engagements."""
    won = 0 if np.isnan(rate) else round(1000 * rate)
    values: dict[str, Any] = {
        "policy": name,
        "scenario": "reference",
        "seed": 3_000_020,
        "episodes": 1000,
        "capture_radius": 150.0,
        "success_rate": rate,
        "success_rate_ci": (low, high),
        "mean_reward": 1.083,
        "mean_final_distance": 131.4,
        "miss_distance_quantiles": {"5": 6.2, "25": 22.0, "50": 61.5, "75": 120.3, "95": 412.0},
        "outcomes": {
            "intercept": won,
            "target_impact": 1000 - won,
            "ground": 0,
            "timeout": 0,
        },
        "mean_fuel_left": 0.312,
        "mean_time_to_intercept": 8.4 if rate > 0 else None,
        "mean_episode_seconds": 9.1,
        "reward_terms": {
            "intercept": 0.94,
            "miss": -0.06,
            "precision": -0.05,
            "progress": 0.29,
            "tracking": 0.01,
            "effort": -0.03,
        },
        "slices": {
            "range": (slice_(2550, 2850, 0.972), slice_(2850, 3150, 0.94), slice_(3150, 3450, 0.911)),
            "azimuth": (slice_(-180, -60, 0.944), slice_(-60, 60, 0.938), slice_(60, 180, 0.941)),
            "elevation": (slice_(15, 30, 0.981), slice_(30, 45, 0.95), slice_(45, 60, 0.892)),
            "target_speed": (slice_(150, 183.3, 0.99), slice_(183.3, 216.7, 0.947), slice_(216.7, 250, 0.886)),
        },
    }
    return PolicyReport(**(values | changes))


def empty_policy(name: str = "policy") -> PolicyReport:
    """No engagement at all: every mean is NaN."""
    return policy(
        name,
        NAN,
        NAN,
        NAN,
        episodes=0,
        mean_reward=NAN,
        mean_final_distance=NAN,
        miss_distance_quantiles={},
        outcomes={},
        mean_fuel_left=NAN,
        mean_time_to_intercept=None,
        mean_episode_seconds=NAN,
        reward_terms={},
        slices={"range": (Slice(low=0, high=1, episodes=0, success_rate=NAN, success_rate_ci=(NAN, NAN)),)},
    )


def evaluation(**changes: Any) -> EvaluationReport:
    """The usual standing: policy above PN above pursuit above random."""
    values: dict[str, Any] = {
        "lineage": LINEAGE,
        "bundle_sha256": "ab" * 32,
        "report": policy("policy", 0.95, 0.8882, 0.9785, episodes=100),
        "heldout": policy(),
        "baselines": {
            "random": policy("random", 0.001, 0.0002, 0.0056, mean_reward=-1.41, mean_final_distance=1740.0),
            "pursuit": policy("pursuit", 0.118, 0.0994, 0.1394, mean_reward=-1.0, mean_final_distance=655.0),
            "pn": policy("pn", 0.581, 0.5502, 0.6112, mean_reward=0.02, mean_final_distance=243.0),
        },
        "targets": (
            TargetRow(metric="success_rate", value=0.95, target="30-40 %", met=True),
            TargetRow(metric="mean_reward", value=1.083, target="> 0", met=True),
            TargetRow(metric="mean_final_distance", value=131.4, target="< 2000 m", met=True),
        ),
    }
    return EvaluationReport(**(values | changes))


def decision(promote: bool = True, first: bool = False) -> GateDecision:
    """A gate's decision for or against, with a champion in the room unless it is the first retraining."""
    paired = PairedComparison(
        champion_version=1,
        champion_success=0.912 if promote else 0.938,
        challenger_success=0.941,
        challenger_only=58,
        champion_only=29 if promote else 55,
        p_value=0.0012 if promote else 0.425,
    )
    rules = (
        GateRule(name="report_beats_baseline", value="95 %", bound="> 33 %", passed=True),
        GateRule(name="heldout_beats_baseline", value="92.47 %", bound="> 33 %", passed=True),
        GateRule(
            name="significantly_better_than_champion", value=f"{paired.p_value:.3g}", bound="< 0.05", passed=promote
        ),
        GateRule(
            name="gain_over_champion",
            value="2.9 points" if promote else "0.3 points",
            bound=">= 1 points",
            passed=promote,
        ),
        GateRule(name="evaluator_check_pn", value="58.1 %", bound="in [45 %, 65 %]", passed=True),
    )
    rejection = (
        "Not promoted: significantly_better_than_champion is 0.425, must be < 0.05; "
        "gain_over_champion is 0.3 points, must be >= 1 points."
    )
    praise = (
        "Promoted: 94.1 % success on 1000 held-out engagements (interval 92.47 % to 95.4 %) beats the baseline of 33 %."
    )
    reason = praise if promote else rejection
    return GateDecision(promote=promote, rules=rules, comparison=None if first else paired, reason=reason)


def promotion(promote: bool = True, first: bool = False, **changes: Any) -> Promotion:
    """The history's entry for `decision` with the same arguments."""
    version = 1 if first else 2
    before = None if first else 1
    values: dict[str, Any] = {
        "when": "2025-11-02T03:18:41+00:00",
        "action": "promoted" if promote else "not_promoted",
        "version": version,
        "champion_before": before,
        "champion_after": version if promote else before,
        "reason": decision(promote, first).reason,
        "lineage_id": LINEAGE.id,
        "mlflow_run_id": "4f1d2a9c8b7e4f0d9a1b2c3d4e5f6a7b",
        "success_rate": 0.941,
        "success_rate_ci": (0.9247, 0.954),
    }
    return Promotion(**(values | changes))


def retraining(promote: bool = True, first: bool = False) -> RetrainRecord:
    """One whole retraining."""
    return RetrainRecord(
        lineage=LINEAGE,
        train=training(),
        evaluation=evaluation(),
        decision=decision(promote, first),
        promotion=promotion(promote, first),
        version=None,
        seconds={"validate": 0.08, "train": 144.2, "version": 4.1, "evaluate": 3.9, "gate": 0.01, "promote": 7.3},
    )


def trajectory(episode: int = 0, outcome: str = "intercept", miss: float = 43.2, ticks: int = 90) -> Trajectory:
    """A straight dive met by a rising curve; the estimate settles on the target."""
    rng = np.random.default_rng(episode)
    part = np.linspace(0.0, 1.0, ticks)[:, None]
    azimuth = 2.4 * episode
    spawn = 2600 * np.array([np.cos(azimuth), np.sin(azimuth), 0.6])
    weave = 60 * np.sin(9 * part) * np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    target = spawn * (1 - 0.75 * part) + weave
    meeting = target[-1] + miss * np.array([0.6, 0.0, 0.8])
    own = meeting * part**1.4 + 120 * np.sin(np.pi * part) * np.array([1.0, 0.0, 0.5])
    estimate = target + rng.normal(0.0, 1.0, (ticks, 3)).cumsum(axis=0) * 4 + 250 * np.exp(-6 * part)
    return Trajectory("policy", episode, outcome, miss, 0.1 * np.arange(ticks), target, own, estimate)


def results() -> list[Trajectory]:
    """Four intercepts and two misses from all sides."""
    return [trajectory(k) for k in range(4)] + [trajectory(4, "target_impact", 212.0), trajectory(5, "timeout", 1480.0)]


def misses() -> dict[str, np.ndarray]:
    """Miss distances with the long tail that real ones have."""
    rng = np.random.default_rng(5)
    near, far = rng.lognormal(4.0, 0.6, 940), rng.lognormal(6.0, 0.7, 60)
    return {"policy": np.concatenate([near, far]), "pn": rng.lognormal(4.8, 0.9, 1000)}
