"""Retrainings to log and register in the tests of the MLflow store."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.evaluation.statistics import mcnemar_one_sided, wilson_interval
from hlynr.ops.registry.logged_model import log_bundle
from hlynr.ops.registry.versions import register
from hlynr.ops.tracking.runs import start_run
from hlynr.ops.tracking.store import Store
from hlynr.records.evaluation import EvaluationReport, GateDecision, PairedComparison, PolicyReport
from hlynr.records.training import Lineage
from support import ROOT

PARAMS = ROOT / "params.yaml"


def config(*overrides: str) -> Config:
    return params.load(PARAMS, overrides)


def lineage(number: int = 0, **changed: Any) -> Lineage:
    fields = {
        "id": f"20261123-18053{number}-4f2a9c",
        "created": f"2026-11-23T18:05:3{number}+00:00",
        "retraining": number,
        "params_digest": config().digest(),
        "git_commit": "293b06a1f0e4d5c6b7a8901234567890abcdef12",
        "git_dirty": False,
    }
    return Lineage.model_validate(fields | changed)


def policy_report(policy: str, success: float, episodes: int = 1000, seed: int = 3000017) -> PolicyReport:
    known = math.isfinite(success)
    return PolicyReport(
        policy=policy,
        scenario="reference",
        seed=seed,
        episodes=episodes,
        capture_radius=150.0,
        success_rate=success,
        success_rate_ci=wilson_interval(round(success * episodes), episodes, 0.95) if known else (success, success),
        mean_reward=1.2,
        mean_final_distance=120.0,
        miss_distance_quantiles={"5": 10.0, "50": 90.0},
        outcomes={"intercept": round(success * episodes) if known else 0, "timeout": 0},
        mean_fuel_left=0.3,
        mean_time_to_intercept=None,
        mean_episode_seconds=10.0,
        reward_terms={"intercept": 0.9},
        slices={},
    )


def evaluation(success: float = 0.94, number: int = 0, bundle_sha256: str = "s") -> EvaluationReport:
    return EvaluationReport(
        lineage=lineage(number),
        bundle_sha256=bundle_sha256,
        report=policy_report("policy", success, 100, 2000003),
        heldout=policy_report("policy", success),
        baselines={"random": policy_report("random", 0.002), "pn": policy_report("pn", 0.58)},
        targets=(),
    )


def decision(promote: bool = True, champion: int | None = None) -> GateDecision:
    """For or against, taken against ``champion``."""
    comparison = None
    if champion is not None:
        comparison = PairedComparison(
            champion_version=champion,
            champion_success=0.9,
            challenger_success=0.94,
            challenger_only=60,
            champion_only=20,
            p_value=mcnemar_one_sided(60, 20),
        )
    reason = "Promoted: better." if promote else "Not promoted: gain_over_champion is 0.1 points, must be >= 1 points."
    return GateDecision(promote=promote, rules=(), comparison=comparison, reason=reason)


def make_bundle(folder: Path, value: float = 0.0) -> str:
    """A bundle of a network whose weights are all ``value``; returns its digest."""
    import torch  # here, because racing processes import this module too

    from hlynr.rl import bundle
    from hlynr.rl.inference.files import shapes

    train = config().train
    network = {"net_arch": list(train.net_arch), "activation": train.activation}
    manifest = {"algorithm": train.algorithm, "network": network, "observation": bundle.observation_schema()}
    weights = {name: torch.full(shape, value) for name, shape in shapes(manifest).items()}
    return bundle.save(folder, weights, config(), lineage(), timesteps=1, success=0.9)


def log_model(store: Store, run_id: str, folder: Path, found: EvaluationReport) -> tuple[str, str]:
    """Log the bundle in ``folder``; returns the model's id and URI."""
    import numpy as np

    from hlynr.envs.observation import SIZE

    return log_bundle(store, run_id, folder, found, found.lineage, config(), np.zeros((1, 2, SIZE)))


def retraining(store: Store, root: Path, number: int = 0, success: float = 0.94) -> tuple[int, str]:
    """A run with its bundle, logged and registered; returns version and run id."""
    folder = root / "outputs" / f"bundle-{number}"
    sha = make_bundle(folder, float(number))
    found, run_id = evaluation(success, number, sha), start_run(store, lineage(number), config())
    model_id, uri = log_model(store, run_id, folder, found)
    return register(store, run_id, uri, model_id, sha, found, lineage(number)), run_id
