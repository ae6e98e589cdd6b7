"""Worlds broken on purpose, each in one way, for the diagnosis to name."""

from __future__ import annotations

from typing import Any

import numpy as np

from hlynr.envs.batch import EngagementBatch
from hlynr.envs.observation import INDEX
from hlynr.envs.reward import TERMS


class Unpredicting(EngagementBatch):
    """The seed run's filter: the track and its covariance stay where the last detection left them."""

    def step(self, action: np.ndarray) -> np.ndarray:
        p, state = self.params[0], self.state
        self.params["acceleration_variance"] = 0.0
        running = ~self.ended
        for _ in range(p["control_interval"] // p["radar_interval"]):
            _take_back(state, running, p["radar_interval"] * p["dt"])
        return super().step(action)


def _take_back(state: np.ndarray, rows: np.ndarray, interval: float) -> None:
    """What one prediction is going to add."""
    state["track_pos"][rows] -= interval * state["track_vel"][rows]
    state["p01"][rows] -= interval * state["p11"][rows]
    state["p00"][rows] -= interval * (2 * state["p01"][rows] + interval * state["p11"][rows])


class Stale(EngagementBatch):
    """A track that never moves with its velocity while it coasts, though it predicts before an update."""

    def step(self, action: np.ndarray) -> np.ndarray:
        before = self.state.copy()
        terms = super().step(action)
        coasted = (self.state["detections"] == before["detections"]) & ~self.ended
        self.state["track_pos"][coasted] = before["track_pos"][coasted]
        return terms


class Confident(EngagementBatch):
    """A filter that believes in a target without acceleration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params["acceleration_variance"] = 1e-6


class Shifted(EngagementBatch):
    """Actions are read along other axes than the observation's."""

    def step(self, action: np.ndarray) -> np.ndarray:
        return super().step(np.roll(action, 1, axis=1))


class Rolled(EngagementBatch):
    """The first axis is right, the lateral ones are turned by 30 deg about it."""

    def step(self, action: np.ndarray) -> np.ndarray:
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        return super().step(action @ np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]]))


class Skewed(EngagementBatch):
    """A frame whose axes are not perpendicular."""

    def step(self, action: np.ndarray) -> np.ndarray:
        return super().step(action @ np.array([[1.0, 0.0, 0.0], [0.3, 1.0, 0.0], [0.0, 0.0, 1.0]]))


class Seeing(EngagementBatch):
    """Actions are read along the true line of sight: the truth leaks through the frame."""

    def step(self, action: np.ndarray) -> np.ndarray:
        estimated = self._axes(len(action))
        self.params["omniscient"] = 1
        true = self._axes(len(action))
        self.params["omniscient"] = 0
        # What the action means along the true axes, in the ones that the simulation will read it in.
        return super().step(np.einsum("nj,njk,nik->ni", action, true, estimated))

    def _axes(self, count: int) -> np.ndarray:
        """Components of east, north, up in the frames of actions, (N, axis, inertial)."""
        return np.stack([self.from_inertial(np.tile(unit, (count, 1))) for unit in np.eye(3)], axis=2)


class Farmed(EngagementBatch):
    """Detections are paid a hundred times better than the configuration says."""

    def step(self, action: np.ndarray) -> np.ndarray:
        terms = super().step(action)
        terms[:, TERMS.index("tracking")] *= 1000.0
        return terms


class Upside(EngagementBatch):
    """Reward and penalty of the outcome are exchanged."""

    def step(self, action: np.ndarray) -> np.ndarray:
        return -super().step(action)


class Blank(EngagementBatch):
    """A channel that is not a number."""

    def observe(self) -> np.ndarray:
        seen = super().observe()
        seen[:, INDEX["own_height"]] = np.nan
        return seen
