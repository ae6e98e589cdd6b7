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
        self._streams = np.zeros(count, dtype=np.int64)
        self.reseed(seed)
        self._reward = config.reward

    def reseed(self, seed: int, rows: np.ndarray | slice = slice(None)) -> None:
        """Let ``rows`` start episodes of ``seed`` from now on, an integer >= 0 of any size."""
        self.seed = seed
        self._streams[rows] = _stream(seed)

    def start(self, index: np.ndarray, episodes: np.ndarray) -> None:
        """Rows ``index`` (M,) become episodes ``episodes`` (M,) of their seeds."""
        index, episodes = index.astype(np.int64), episodes.astype(np.int64)
        streams = self._streams[index]
        if (streams == streams[:1]).all():  # nearly always
            initial(self.state, index, episodes, streams[0] if len(index) else 0, self.params)
            return
        for row, episode, stream in zip(index, episodes, streams, strict=True):
            initial(self.state, np.array([row]), np.array([episode]), stream, self.params)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Advance one timestep; returns the reward terms (N, len(TERMS)).

        Args:
            action: (N, 3) of any integer or floating kind and memory layout. What `hlynr.sim.engagement.advance` says
                of values beyond the box and of those that are no numbers.

        Raises:
            ValueError: if it has another shape.
            TypeError: if it holds no real numbers.
        """
        action = self._vectors(action)
        before = {name: self.state[name].copy() for name in COMPARED}
        advance(self.state, action, self.params)
        return reward_terms(self._reward, self.params, before, self.state)

    def from_inertial(self, command: np.ndarray) -> np.ndarray:
        """Commands (N, 3) given along east, north, up as the actions that `step` takes. Raises as `step` does."""
        return into_line_of_sight(self.state, self._vectors(command), self.params)

    def _vectors(self, values: np.ndarray) -> np.ndarray:
        """As the kernels read them, which do not look where an array ends."""
        array = np.asarray(values)
        if array.shape != (len(self.state), 3):
            raise ValueError(f"actions have the shape {array.shape}; ({len(self.state)}, 3) is needed")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"actions are of the kind {array.dtype}; real numbers are needed")
        return np.ascontiguousarray(array, dtype=np.float64)

    def observe(self) -> np.ndarray:
        """Observations, a fresh (N, SIZE) float32 array."""
        out = np.empty((len(self.state), SIZE), dtype=np.float32)
        observe(self.state, self.params, out)
        return out

    @property
    def ended(self) -> np.ndarray:
        """(N,) bool."""
        return np.asarray(self.state["outcome"] != RUNNING)


def _stream(seed: int) -> int:
    """The 64 bits of a seed in the kernels; those that have more are hashed."""
    if seed < 0:
        raise ValueError(f"seed: {seed} should be greater than or equal to 0")
    return seed if seed < 2**63 else int(np.random.SeedSequence(seed).generate_state(1, np.uint64).view(np.int64)[0])
