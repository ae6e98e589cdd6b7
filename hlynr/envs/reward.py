"""Reward as named terms times scales from params.yaml; every term is logged by its name.

An episode's per-step terms are bounded by their scales: progress telescopes to the part of the spawn range
covered, tracking to the fraction of scans with a detection, effort to the fuel spent. `hlynr.config.sections.Reward`
rejects scales with which they could outweigh the outcome. A time-out costs as much as any other miss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hlynr.sim.state import INTERCEPT, RUNNING

if TYPE_CHECKING:
    from hlynr.config.sections import Reward

TERMS = ("intercept", "miss", "precision", "progress", "tracking", "effort")


COMPARED = ("detections", "fuel", "min_distance", "outcome")
"""The columns of a state that the reward compares over one timestep."""


def reward_terms(reward: Reward, params: np.ndarray, before: Mapping[str, np.ndarray], state: np.ndarray) -> np.ndarray:
    """Scaled terms of one timestep, (N, len(TERMS)) float64; rows that had ended before it are zero.

    Args:
        before: the columns `COMPARED` at its start, (N,) each.
        state: at its end, (N,).
    """
    p, outcome = params[0], state["outcome"]
    ended = (outcome != RUNNING) & (before["outcome"] == RUNNING)
    intercept = ended & (outcome == INTERCEPT)
    terms = np.empty((len(state), len(TERMS)))
    terms[:, 0] = reward.intercept * intercept
    terms[:, 1] = -reward.miss * (ended & ~intercept)
    terms[:, 2] = -reward.precision * ended * np.minimum(state["min_distance"] / reward.precision_range, 1.0)
    terms[:, 3] = reward.progress * (before["min_distance"] - state["min_distance"]) / state["spawn_range"]
    scans = float(p["time_limit"] / p["radar_interval"])
    terms[:, 4] = reward.tracking * (state["detections"] - before["detections"]) / scans
    terms[:, 5] = -reward.effort * (before["fuel"] - state["fuel"])
    return terms
