"""Running a policy through engagements, and the result of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hlynr.envs.batch import EngagementBatch
from hlynr.envs.reward import TERMS
from hlynr.sim.state import INTERCEPT

if TYPE_CHECKING:
    from hlynr.config.config import Config
    from hlynr.evaluation.policy import Policy


@dataclass(frozen=True)
class EpisodeResults:
    """Results of N engagements; every array has N rows, in the order of the episode numbers."""

    outcome: np.ndarray
    """Codes of `hlynr.sim.state.OUTCOMES`."""
    miss_distance: np.ndarray
    """Minimum over the episode [m]."""
    final_distance: np.ndarray
    """At the end of the episode [m]."""
    terms: np.ndarray
    """(N, len(TERMS)) sums of the scaled reward terms."""
    fuel: np.ndarray
    """Remaining fraction."""
    seconds: np.ndarray
    first_detection: np.ndarray
    """[s]; NaN where there was none."""
    range: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    """Of the spawn [m], [rad], [rad]."""
    target_speed: np.ndarray

    @property
    def success(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(self.outcome == INTERCEPT)

    @property
    def reward(self) -> np.ndarray:
        """(N,) undiscounted."""
        return np.asarray(self.terms.sum(axis=1))


def run_episodes(
    policy: Policy,
    config: Config,
    scenario: str,
    *,
    seed: int,
    episodes: int,
    batch_size: int,
    omniscient: bool = False,
) -> EpisodeResults:
    """Run episodes 0 .. ``episodes`` - 1 of ``seed``, ``batch_size`` at a time; the results do not depend on it."""
    parts = [
        _run_batch(policy, config, scenario, seed, np.arange(first, min(first + batch_size, episodes)), omniscient)
        for first in range(0, episodes, batch_size)
    ]
    return EpisodeResults(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(EpisodeResults)))


def _run_batch(
    policy: Policy, config: Config, scenario: str, seed: int, episodes: np.ndarray, omniscient: bool
) -> EpisodeResults:
    batch = EngagementBatch(config, scenario, count=len(episodes), seed=seed, omniscient=omniscient)
    batch.start(np.arange(len(episodes)), episodes)
    terms = np.zeros((len(episodes), len(TERMS)))
    for _, _, rewards in timesteps(policy, batch):
        terms += rewards
    return _ended(batch, terms)


def timesteps(policy: Policy, batch: EngagementBatch) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Run a started batch to the end of its last engagement, the policy's memory carried.

    Yields:
        After each timestep: the observations (N, D) before it, the actions (N, 3) in the line-of-sight frame, and
        their reward terms (N, len(TERMS)).
    """
    memory: Any = None
    first = np.ones(len(batch.state), dtype=bool)
    while not batch.ended.all():
        observation = batch.observe()
        action, memory = policy.predict(observation, memory, first)
        if policy.frame == "inertial":
            action = batch.from_inertial(action)
        rewards = batch.step(action)
        first = np.zeros(len(first), dtype=bool)
        yield observation, action, rewards


def _ended(batch: EngagementBatch, terms: np.ndarray) -> EpisodeResults:
    state, dt = batch.state, float(batch.params["dt"][0])
    detected = state["first_detection_tick"]
    return EpisodeResults(
        outcome=state["outcome"].copy(),
        miss_distance=state["min_distance"].copy(),
        final_distance=np.linalg.norm(state["target_pos"] - state["own_pos"], axis=1),
        terms=terms,
        fuel=state["fuel"].copy(),
        seconds=state["tick"] * dt,
        first_detection=np.where(detected >= 0, detected * dt, np.nan),
        range=state["spawn_range"].copy(),
        azimuth=state["spawn_azimuth"].copy(),
        elevation=state["spawn_elevation"].copy(),
        target_speed=state["target_speed"].copy(),
    )
