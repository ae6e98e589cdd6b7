"""Flying a policy through engagements and recording how each ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hlynr.envs.batch import EngagementBatch
from hlynr.envs.reward import TERMS
from hlynr.sim.engagement import INTERCEPT, OUTCOMES

if TYPE_CHECKING:
    from hlynr.config.config import Config
    from hlynr.evaluation.policy import Policy


@dataclass(frozen=True)
class EpisodeResults:
    """How N engagements ended; every array has N rows, in the order of the episode numbers."""

    outcome: np.ndarray
    """Codes of `hlynr.sim.engagement.OUTCOMES`."""
    miss_distance: np.ndarray
    """Minimum over the episode [m]."""
    final_distance: np.ndarray
    """At the end of the episode [m]."""
    terms: np.ndarray
    """(N, len(TERMS)) sums of the scaled reward terms."""
    fuel: np.ndarray
    """What was left, in [0, 1]."""
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


@dataclass(frozen=True)
class Trajectory:
    """One engagement, sampled once per timestep (T rows), positions in [m] east, north, up."""

    policy: str
    episode: int
    outcome: str
    miss_distance: float
    time: np.ndarray
    target: np.ndarray
    own: np.ndarray
    estimate: np.ndarray
    """What the interceptor took for the target's position."""


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
    """Fly episodes 0 .. ``episodes`` - 1 of ``seed``, ``batch_size`` at a time; the result does not depend on it."""
    parts = [
        _fly_batch(policy, config, scenario, seed, np.arange(first, min(first + batch_size, episodes)), omniscient)
        for first in range(0, episodes, batch_size)
    ]
    return EpisodeResults(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(EpisodeResults)))


def _fly_batch(
    policy: Policy, config: Config, scenario: str, seed: int, episodes: np.ndarray, omniscient: bool
) -> EpisodeResults:
    batch = EngagementBatch(config, scenario, count=len(episodes), seed=seed, omniscient=omniscient)
    batch.start(np.arange(len(episodes)), episodes)
    terms = np.zeros((len(episodes), len(TERMS)))
    for _, _, earned in timesteps(policy, batch):
        terms += earned
    return _ended(batch, terms)


def timesteps(policy: Policy, batch: EngagementBatch) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Fly a started batch to the end of its last engagement, the policy's memory carried.

    Yields:
        After each timestep: the observations (N, D) before it, the actions (N, 3) that were flown, and the reward
        terms (N, len(TERMS)) they earned.
    """
    memory: Any = None
    first = np.ones(len(batch.state), dtype=bool)
    while not batch.ended.all():
        seen = batch.observe()
        action, memory = policy.predict(seen, memory, first)
        if policy.frame == "inertial":
            action = batch.from_inertial(action)
        earned = batch.step(action)
        first = np.zeros(len(first), dtype=bool)
        yield seen, action, earned


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


def trace(policy: Policy, config: Config, scenario: str, *, seed: int, episodes: np.ndarray) -> list[Trajectory]:
    """Fly the given episode numbers (M,) and keep their paths."""
    batch = EngagementBatch(config, scenario, count=len(episodes), seed=seed)
    batch.start(np.arange(len(episodes)), episodes)
    frames = [_positions(batch)]
    frames.extend(_positions(batch) for _ in timesteps(policy, batch))
    return [_trajectory(policy.name, batch, frames, row, int(episode)) for row, episode in enumerate(episodes)]


def _positions(batch: EngagementBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    state, dt = batch.state, float(batch.params["dt"][0])
    ahead = ((state["tick"] - state["track_tick"]) * dt)[:, None]
    estimate = state["track_pos"] + ahead * state["track_vel"]
    return state["tick"] * dt, state["target_pos"].copy(), state["own_pos"].copy(), estimate


def _trajectory(name: str, batch: EngagementBatch, frames: list[Any], row: int, episode: int) -> Trajectory:
    time, target, own, estimate = (np.stack([frame[k][row] for frame in frames]) for k in range(4))
    length = int(np.searchsorted(time, time[-1])) + 1  # a finished engagement repeats its last frame
    state = batch.state[row]
    return Trajectory(
        policy=name,
        episode=episode,
        outcome=OUTCOMES[state["outcome"]],
        miss_distance=float(state["min_distance"]),
        time=time[:length],
        target=target[:length],
        own=own[:length],
        estimate=estimate[:length],
    )
