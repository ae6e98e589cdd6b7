"""Figures from results: they add up, and they are what numpy says they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from hlynr.config.config import Config
from hlynr.envs.reward import TERMS
from hlynr.evaluation.laws import law
from hlynr.evaluation.metrics import QUANTILES, summarise
from hlynr.evaluation.rollout import EpisodeResults, run_episodes
from hlynr.evaluation.statistics import wilson_interval
from hlynr.records.evaluation import PolicyReport
from hlynr.sim.state import INTERCEPT, OUTCOMES, TARGET_IMPACT


@pytest.fixture(scope="module")
def results(config: Config) -> EpisodeResults:
    return run_episodes(law("pn", config, "reference"), config, "reference", seed=17, episodes=500, batch_size=500)


def summary(results: EpisodeResults, config: Config) -> PolicyReport:
    return summarise(results, config, "reference", policy="pn", seed=17)


@pytest.fixture(scope="module")
def report(results: EpisodeResults, config: Config) -> PolicyReport:
    return summary(results, config)


def test_outcomes_add_up(report: PolicyReport) -> None:
    assert sum(report.outcomes.values()) == report.episodes == 500
    assert set(report.outcomes) == set(OUTCOMES) - {"running"}
    assert report.outcomes["intercept"] == round(report.success_rate * report.episodes)


def test_means_and_interval(report: PolicyReport, results: EpisodeResults, config: Config) -> None:
    wins = int(results.success.sum())
    assert report.success_rate == wins / 500
    assert report.success_rate_ci == wilson_interval(wins, 500, config.gate.confidence)
    assert report.mean_reward == pytest.approx(results.terms.sum() / 500)
    assert report.mean_final_distance == pytest.approx(results.final_distance.mean())
    assert report.mean_fuel_left == pytest.approx(results.final["fuel"].mean())
    assert report.mean_episode_seconds == pytest.approx(results.seconds.mean())
    assert report.mean_time_to_intercept == pytest.approx(results.seconds[results.final["outcome"] == INTERCEPT].mean())
    assert (report.policy, report.scenario, report.seed) == ("pn", "reference", 17)
    assert report.capture_radius == config.scenarios["reference"].capture_radius


def test_reward_terms_sum_to_the_mean_reward(report: PolicyReport) -> None:
    assert tuple(report.reward_terms) == TERMS
    assert sum(report.reward_terms.values()) == pytest.approx(report.mean_reward)


def altered(results: EpisodeResults, column: str, values: Any) -> EpisodeResults:
    final = results.final.copy()
    final[column] = values
    return replace(results, final=final)


def test_quantiles_are_ordered(report: PolicyReport, results: EpisodeResults) -> None:
    values = [report.miss_distance_quantiles[str(q)] for q in QUANTILES]
    assert values == sorted(values)
    assert report.miss_distance_quantiles["50"] == np.median(results.miss_distance)


@pytest.mark.parametrize("name", ["range", "azimuth", "elevation", "target_speed"])
def test_slices_partition_the_engagements(
    report: PolicyReport, results: EpisodeResults, config: Config, name: str
) -> None:
    parts = report.slices[name]
    assert len(parts) == config.evaluation.slices
    assert sum(part.episodes for part in parts) == report.episodes
    assert sum(part.episodes * part.success_rate for part in parts) == pytest.approx(report.outcomes["intercept"])
    for left, right in pairwise(parts):
        assert left.high == right.low
        assert right.high - right.low == pytest.approx(left.high - left.low)
    values = results.final["target_speed" if name == "target_speed" else f"spawn_{name}"]
    values = np.degrees(values) if name in ("azimuth", "elevation") else values
    assert parts[0].low <= values.min()
    assert values.max() <= parts[-1].high
    for part in parts:
        inside = (values >= part.low) & (values < part.high)
        assert part.episodes == inside.sum()
        assert part.success_rate == pytest.approx(results.success[inside].mean())
        low, high = part.success_rate_ci
        assert low <= part.success_rate <= high


def test_values_on_the_outer_edges_are_counted(results: EpisodeResults, config: Config) -> None:
    spawn = config.scenarios["reference"].spawn
    edges = np.where(np.arange(500) % 2, spawn.range * (1 - spawn.range_spread), spawn.range * (1 + spawn.range_spread))
    parts = summary(altered(results, "spawn_range", edges), config).slices["range"]
    assert (parts[0].episodes, parts[-1].episodes) == (250, 250)


def test_an_empty_slice_and_a_quantity_without_range(results: EpisodeResults, configure: Callable[..., Config]) -> None:
    fixed = configure("scenarios.reference.target.speed=[200.0, 200.0]", "evaluation.slices=4")
    parts = summary(altered(results, "target_speed", 200.0), fixed).slices["target_speed"]
    assert [part.episodes for part in parts] == [0, 0, 0, 500]
    assert parts[0].success_rate == 0.0
    assert parts[0].success_rate_ci == (0.0, 1.0)


def test_no_intercept_has_no_time_to_intercept(results: EpisodeResults, config: Config) -> None:
    none = summary(altered(results, "outcome", TARGET_IMPACT), config)
    assert none.mean_time_to_intercept is None
    assert none.success_rate == 0.0
    assert none.success_rate_ci[0] == 0.0
    assert none.outcomes["target_impact"] == 500


def test_the_report_survives_json(report: PolicyReport) -> None:
    assert PolicyReport.model_validate_json(report.model_dump_json()) == report
