"""The pursuit as a single Gymnasium environment, over the same functions as the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from hlynr.envs.batch import EngagementBatch
from hlynr.envs.reward import TERMS
from hlynr.envs.vector_env import action_space, observation_space
from hlynr.sim.state import OUTCOMES

if TYPE_CHECKING:
    from hlynr.config.config import Config


class InterceptEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One engagement at a time. ``reset(seed=s)`` starts episode 0 of seed s, each later reset the next one.

    Made by ``gymnasium.make("Hlynr/Intercept-v0", config=config, scenario="reference")``.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(self, config: Config, scenario: str = "reference", *, omniscient: bool = False) -> None:
        self.observation_space = observation_space()
        self.action_space = action_space()
        self.batch = EngagementBatch(config, scenario, count=1, seed=0, omniscient=omniscient)
        self._episode = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode, or with ``seed`` that seed's first."""
        super().reset(seed=seed)
        if seed is not None:
            self.batch.seed, self._episode = seed, -1
        self._episode += 1
        self.batch.start(np.zeros(1), np.full(1, self._episode))
        return self.batch.observe()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Gymnasium's step; ``info`` names the reward terms and, at the end, outcome and miss distance [m]."""
        terms = self.batch.step(np.asarray(action)[None])[0]
        ended = bool(self.batch.ended[0])
        info: dict[str, Any] = {"reward_terms": dict(zip(TERMS, terms.tolist(), strict=True))}
        if ended:
            state = self.batch.state[0]
            info |= {"outcome": OUTCOMES[state["outcome"]], "miss_distance": float(state["min_distance"])}
        return self.batch.observe()[0], float(terms.sum()), ended, False, info
