"""Reward as named terms times scales from params.yaml; every term is logged by its name.

An episode's per-step terms are bounded by their scales: progress telescopes to the part of the spawn range
covered, tracking to the fraction of scans with a detection, effort to the fuel spent. `hlynr.config.sections.Reward`
rejects scales with which they could outweigh the outcome. A time-out costs as much as any other miss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hlynr.sim.state import INTERCEPT, RUNNING

if TYPE_CHECKING:
    from hlynr.config.sections import Reward

TERMS = ("intercept", "miss", "precision", "progress", "tracking", "effort")


class RewardFunction:
    """Computes the terms of one timestep from the states at its two ends."""

    def __init__(self, reward: Reward, params: np.ndarray) -> None:
        p = params[0]
        self._reward = reward
        self._scans = float(p["time_limit"] / p["radar_interval"])

    def __call__(self, before: Snapshot, state: np.ndarray) -> np.ndarray:
        """Scaled terms, (N, len(TERMS)) float64; rows that had ended before this timestep are zero."""
        reward = self._reward
        outcome = state["outcome"]
        ended = (outcome != RUNNING) & (before.outcome == RUNNING)
        intercept = ended & (outcome == INTERCEPT)
        terms = np.empty((len(state), len(TERMS)))
        terms[:, 0] = reward.intercept * intercept
        terms[:, 1] = -reward.miss * (ended & ~intercept)
        terms[:, 2] = -reward.precision * ended * np.minimum(state["min_distance"] / reward.precision_range, 1.0)
        terms[:, 3] = reward.progress * (before.min_distance - state["min_distance"]) / state["spawn_range"]
        terms[:, 4] = reward.tracking * (state["detections"] - before.detections) / self._scans
        terms[:, 5] = -reward.effort * (before.fuel - state["fuel"])
        return terms


class Snapshot:
    """The columns of a state that the reward compares over one timestep."""

    __slots__ = ("detections", "fuel", "min_distance", "outcome")

    def __init__(self, state: np.ndarray) -> None:
        self.outcome = state["outcome"].copy()
        self.min_distance = state["min_distance"].copy()
        self.detections = state["detections"].copy()
        self.fuel = state["fuel"].copy()
