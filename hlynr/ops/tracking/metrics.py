"""A report's figures as MLflow metrics, and its engagements as MLflow datasets."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hlynr.config.config import Config
from hlynr.records.evaluation import PolicyReport

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Metric


def metrics(values: Mapping[str, float], **bound: Any) -> list[Metric]:
    """Figures without a time of their own; ``bound`` ties them to a model or a dataset."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, 0, **bound) for key, value in values.items()]


def merits(report: PolicyReport) -> dict[str, float]:
    """The figures by which policies are compared, under names that no figure of a training has."""
    low, high = report.success_rate_ci
    return {
        "success_rate": report.success_rate,
        "success_rate_low": low,
        "success_rate_high": high,
        "mean_reward": report.mean_reward,
        "mean_final_distance": report.mean_final_distance,
    }


def details(report: PolicyReport) -> dict[str, float]:
    """All figures of a report that are one number; unknown ones are omitted."""
    values: dict[str, float | None] = {
        **merits(report),
        "episodes": report.episodes,
        "mean_fuel_left": report.mean_fuel_left,
        "mean_time_to_intercept": report.mean_time_to_intercept,
        "mean_episode_seconds": report.mean_episode_seconds,
    }
    values |= {f"miss_distance_p{key}": value for key, value in report.miss_distance_quantiles.items()}
    values |= {f"outcome/{key}": count for key, count in report.outcomes.items()}
    values |= {f"reward/{key}": value for key, value in report.reward_terms.items()}
    return {key: value for key, value in values.items() if value is not None}


def prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """The same figures in a group of their own."""
    return {f"{prefix}/{key}": value for key, value in values.items()}


def dataset_of(report: PolicyReport, role: str, config: Config) -> Dataset:
    """A report's seed set, named like ``reference-heldout-3000017``.

    The digest covers all that determines the engagements: scenario, simulation, seed and number.
    """
    from mlflow.entities import Dataset

    described = {"scenario": report.scenario, "seed": report.seed, "episodes": report.episodes}
    world = {"definition": config.scenarios[report.scenario].model_dump(), "sim": config.sim.model_dump()}
    digest = hashlib.sha256(json.dumps(described | world, sort_keys=True).encode()).hexdigest()[:16]
    tags = {"mlflow.source.name": "hlynr evaluate"} | {key: str(value) for key, value in described.items()}
    return Dataset(
        name=f"{report.scenario}-{role}-{report.seed}",
        digest=digest,
        source_type="code",
        source=json.dumps({"tags": tags}),
        profile=json.dumps({"num_rows": report.episodes}),
    )
