"""A network with the noise of its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from hlynr.evaluation.policy import Frame
from hlynr.sim.rng import hashed_uniforms

if TYPE_CHECKING:
    from hlynr.rl.network import NetworkPolicy


class ExploringPolicy:
    """Adds the network's Gaussian noise to its actions and clips them, as the environment does in training.

    The draw is a hash of the seed and the observation, so that it is the same in every batch.
    """

    frame: Frame = "line_of_sight"

    def __init__(self, policy: NetworkPolicy, seed: int) -> None:
        self.name = f"{policy.name} with its noise"
        self._policy, self._seed = policy, seed

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `hlynr.evaluation.policy.Policy`."""
        mean, state = self._policy.mean(observation, state, episode_start)
        seed = np.full((len(observation), 1), self._seed, dtype=np.float32)
        noise = ndtri(hashed_uniforms(np.concatenate([observation, seed], axis=1), mean.shape[1]))
        return np.clip(mean + self._policy.std * noise, -1.0, 1.0), state
