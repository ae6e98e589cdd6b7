"""Running a policy through engagements, and the result of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.reward import TERMS
from hlynr.evaluation.policy import Policy
from hlynr.sim.state import INTERCEPT


@dataclass(frozen=True)
class EpisodeResults:
    """The ends of N engagements, in the order of the episode numbers."""

    final: np.ndarray
    """(N,) of `hlynr.sim.state.STATE`."""
    terms: np.ndarray
    """(N, len(TERMS)) sums of the scaled reward terms."""
    dt: float
    """[s] of a tick."""

    @property
    def success(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(self.final["outcome"] == INTERCEPT)

    @property
    def success_rate(self) -> float:
        return float(self.success.mean())

    @property
    def reward(self) -> np.ndarray:
        """(N,) undiscounted."""
        return np.asarray(self.terms.sum(axis=1))

    @property
    def miss_distance(self) -> np.ndarray:
        """Minimum over the episode, (N,) [m]."""
        return np.array(self.final["min_distance"])

    @property
    def final_distance(self) -> np.ndarray:
        """At the end of the episode, (N,) [m]."""
        return np.asarray(np.linalg.norm(self.final["target_pos"] - self.final["own_pos"], axis=1))

    @property
    def seconds(self) -> np.ndarray:
        """Duration of the episode, (N,)."""
        return np.asarray(self.final["tick"] * self.dt)


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
    batches = [
        _run_batch(policy, config, scenario, seed, np.arange(first, min(first + batch_size, episodes)), omniscient)
        for first in range(0, episodes, batch_size)
    ]
    final, terms = map(np.concatenate, zip(*batches, strict=True))
    return EpisodeResults(final, terms, config.sim.dt)


def _run_batch(
    policy: Policy, config: Config, scenario: str, seed: int, episodes: np.ndarray, omniscient: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Final states and sums of the reward terms."""
    batch = EngagementBatch(config, scenario, count=len(episodes), seed=seed, omniscient=omniscient)
    batch.start(np.arange(len(episodes)), episodes)
    terms = np.zeros((len(episodes), len(TERMS)))
    for _, _, rewards in timesteps(policy, batch):
        terms += rewards
    return batch.state, terms


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
