"""The pursuit as Gymnasium environments, a vector of them and a single one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from hlynr.envs.batch import EngagementBatch
from hlynr.envs.observation import LIMIT, SIZE
from hlynr.envs.reward import TERMS
from hlynr.sim.state import OUTCOMES

if TYPE_CHECKING:
    from hlynr.config.config import Config


def observation_space() -> spaces.Box:
    """Box of one observation."""
    return spaces.Box(-LIMIT, LIMIT, (SIZE,), np.float32)


def action_space() -> spaces.Box:
    """Box of one action: acceleration in the line-of-sight frame, as a fraction of the limit."""
    return spaces.Box(-1.0, 1.0, (3,), np.float32)


class InterceptVectorEnv(VectorEnv):
    """``num_envs`` engagements in one batch, restarted in the step in which they end.

    Environment i plays the episodes i, i + num_envs, i + 2 num_envs, ... of the seed, so its worlds depend
    neither on the other environments nor on how long their episodes last. Every ending is a termination:
    the time left is part of the observation, so a time-out is an outcome and not a cut.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(
        self, config: Config, scenario: str, *, num_envs: int, seed: int = 0, omniscient: bool = False
    ) -> None:
        self.num_envs = num_envs
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.batch = EngagementBatch(config, scenario, count=num_envs, seed=seed, omniscient=omniscient)
        self._rows = np.arange(num_envs)
        self.episodes = self._rows.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start over; with ``seed`` from that seed's first episodes, else from the episodes after the current ones."""
        if seed is not None:
            self.batch.seed = seed
            self.episodes = self._rows.copy()
        elif self.batch.state["key"].any():
            self.episodes += self.num_envs
        self.batch.start(self._rows, self.episodes)
        return self.batch.observe(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Gymnasium's step; ``info`` holds final_obs, outcome and miss_distance where an episode ended."""
        terms = self.batch.step(actions)
        ended = self.batch.ended
        info: dict[str, Any] = {"reward_terms": terms}
        if ended.any():
            info |= self._final_info(ended)
            self.restart(np.flatnonzero(ended))
        truncated = np.zeros(self.num_envs, dtype=bool)
        return self.batch.observe(), terms.sum(axis=1), ended, truncated, info

    def restart(self, rows: np.ndarray) -> None:
        """Start the next episodes of ``rows`` (M,)."""
        self.episodes[rows] += self.num_envs
        self.batch.start(rows, self.episodes[rows])

    def _final_info(self, ended: np.ndarray) -> dict[str, Any]:
        final = np.empty(self.num_envs, dtype=object)
        observations = self.batch.observe()
        for row in np.flatnonzero(ended):
            final[row] = observations[row]
        state = self.batch.state
        return {
            "final_obs": final,
            "_final_obs": ended,
            "outcome": np.array(OUTCOMES)[state["outcome"]],
            "_outcome": ended,
            "miss_distance": state["min_distance"].copy(),
            "_miss_distance": ended,
        }


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
