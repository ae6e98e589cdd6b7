"""From results to figures."""

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.reward import TERMS
from hlynr.evaluation.rollout import EpisodeResults
from hlynr.evaluation.statistics import wilson_interval
from hlynr.records.evaluation import PolicyReport, Slice
from hlynr.sim.state import OUTCOMES, RUNNING

QUANTILES = (5, 25, 50, 75, 95)


def summarise(results: EpisodeResults, config: Config, scenario: str, *, policy: str, seed: int) -> PolicyReport:
    """The report of one policy on one seed set."""
    success, confidence = results.success, config.gate.confidence
    episodes, wins = len(success), int(success.sum())
    return PolicyReport(
        policy=policy,
        scenario=scenario,
        seed=seed,
        episodes=episodes,
        capture_radius=config.scenarios[scenario].capture_radius,
        success_rate=wins / episodes,
        success_rate_ci=wilson_interval(wins, episodes, confidence),
        mean_reward=float(results.reward.mean()),
        mean_final_distance=float(results.final_distance.mean()),
        miss_distance_quantiles={str(q): float(np.percentile(results.miss_distance, q)) for q in QUANTILES},
        outcomes={
            name: int((results.final["outcome"] == code).sum()) for code, name in enumerate(OUTCOMES) if code != RUNNING
        },
        mean_fuel_left=float(results.final["fuel"].mean()),
        mean_time_to_intercept=float(results.seconds[success].mean()) if wins else None,
        mean_episode_seconds=float(results.seconds.mean()),
        reward_terms={term: float(results.terms[:, k].mean()) for k, term in enumerate(TERMS)},
        slices=_slices(results, config, scenario),
    )


def _slices(results: EpisodeResults, config: Config, scenario: str) -> dict[str, tuple[Slice, ...]]:
    """Success by equal parts of the range from which each quantity is drawn."""
    settings = config.scenarios[scenario]
    near, far = (settings.spawn.range * (1 + sign * settings.spawn.range_spread) for sign in (-1, 1))
    sliced = {
        "range": (results.final["spawn_range"], (near, far)),
        "azimuth": (np.degrees(results.final["spawn_azimuth"]), (0.0, 360.0)),
        "elevation": (np.degrees(results.final["spawn_elevation"]), settings.spawn.elevation),
        "target_speed": (results.final["target_speed"], settings.target.speed),
    }
    return {name: _parts(values, bounds, results.success, config) for name, (values, bounds) in sliced.items()}


def _parts(values: np.ndarray, bounds: tuple[float, float], success: np.ndarray, config: Config) -> tuple[Slice, ...]:
    count = config.evaluation.slices
    edges = np.linspace(*bounds, count + 1)
    part = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, count - 1)
    return tuple(
        Slice(
            low=float(low),
            high=float(high),
            episodes=len(chosen),
            success_rate=float(chosen.mean()) if len(chosen) else 0.0,
            success_rate_ci=wilson_interval(int(chosen.sum()), len(chosen), config.gate.confidence),
        )
        for low, high, chosen in zip(edges[:-1], edges[1:], (success[part == k] for k in range(count)), strict=True)
    )
