"""N engagements with observations and rewards, the one class that every environment and evaluation steps.

So training, evaluation, the Gymnasium environments and the guidance laws share simulation, reward and observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hlynr.envs.observation import SIZE, observe
from hlynr.envs.reward import COMPARED, reward_terms
from hlynr.sim.engagement import advance, into_line_of_sight
from hlynr.sim.scenario import parameters
from hlynr.sim.spawn import initial
from hlynr.sim.state import RUNNING, STATE

if TYPE_CHECKING:
    from hlynr.config.config import Config


class EngagementBatch:
    """``count`` engagements of one scenario and seed; nothing restarts by itself."""

    def __init__(self, config: Config, scenario: str, *, count: int, seed: int, omniscient: bool = False) -> None:
        self.params = parameters(config, scenario, omniscient=omniscient)
        self.state = np.zeros(count, dtype=STATE)
        self.seed = seed
        self._reward = config.reward

    def start(self, index: np.ndarray, episodes: np.ndarray) -> None:
        """Rows ``index`` (M,) become episodes ``episodes`` (M,) of the seed."""
        initial(self.state, index.astype(np.int64), episodes.astype(np.int64), self.seed, self.params)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance one timestep under ``action`` (N, 3); returns the reward terms (N, len(TERMS))."""
        before = {name: self.state[name].copy() for name in COMPARED}
        advance(self.state, np.ascontiguousarray(action, dtype=np.float64), self.params)
        return reward_terms(self._reward, self.params, before, self.state)

    def from_inertial(self, command: np.ndarray) -> np.ndarray:
        """Commands (N, 3) given along east, north, up as the actions that `step` takes."""
        return into_line_of_sight(self.state, np.ascontiguousarray(command, dtype=np.float64), self.params)

    def observe(self) -> np.ndarray:
        """Observations, a fresh (N, SIZE) float32 array."""
        out = np.empty((len(self.state), SIZE), dtype=np.float32)
        observe(self.state, self.params, out)
        return out

    @property
    def ended(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(self.state["outcome"] != RUNNING)
