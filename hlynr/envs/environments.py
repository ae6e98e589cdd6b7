"""The pursuit as Gymnasium environments, a vector of them and a single one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils import seeding
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
        self,
        config: Config,
        scenario: str,
        *,
        num_envs: int,
        seed: int = 0,
        omniscient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs: {num_envs} should be greater than or equal to 1")
        _require_no_rendering(render_mode)
        self.num_envs = operator.index(num_envs)
        self.single_observation_space = observation_space()
        self.single_action_space = action_space()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.batch = EngagementBatch(config, scenario, count=self.num_envs, seed=_checked(seed), omniscient=omniscient)
        self.episodes = np.arange(self.num_envs)
        self._strides = np.full(self.num_envs, self.num_envs)
        self._ready = False

    def reset(
        self, *, seed: int | np.integer[Any] | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start over; with ``seed`` from that seed's first episodes, else from the episodes after the current ones.

        Args:
            seed: an integer >= 0 of any size; or one for each environment, which then plays the episodes 0, 1, 2, ...
                of its own seed, as a single environment does, and goes on where its entry is None.
            options: ``reset_mask``, (num_envs,) bool: the environments to reset, default all.

        Raises:
            ValueError: if an option is unknown, or ``seed`` or ``reset_mask`` is of another size.
            gymnasium.error.Error: if a seed is negative.
            gymnasium.error.ClosedEnvironmentError: after `close`.
        """
        self._require_open()
        rows = self._rows_to_reset(options)
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else _checked(seed))
            seeds: list[int | None] = [None if seed is None else _checked(seed)] * self.num_envs
            first, stride = np.arange(self.num_envs), self.num_envs
        else:
            seeds = [None if each is None else _checked(each) for each in seed]
            first, stride = np.zeros(self.num_envs, dtype=np.int64), 1
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed: {len(seeds)} seeds are not one for each of {self.num_envs} environments")
        given = rows[[seeds[row] is not None for row in rows]]
        others = np.setdiff1d(rows, given)
        for row in given:
            self.batch.reseed(seeds[row], row)
        self.episodes[given], self._strides[given] = first[given], stride
        self.episodes[others] += np.where(self.batch.state["key"][others] != 0, self._strides[others], 0)
        self.batch.start(rows, self.episodes[rows])
        self._ready = bool(self.batch.state["key"].all())
        return self.batch.observe(), {}

    def _rows_to_reset(self, options: dict[str, Any] | None) -> np.ndarray:
        _require_known(options, "reset_mask")
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        if np.shape(mask) != (self.num_envs,) or np.asarray(mask).dtype != bool or not np.any(mask):
            raise ValueError(f"options: reset_mask should be bool, ({self.num_envs},), and true somewhere")
        return np.flatnonzero(mask)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Gymnasium's step; ``info`` holds final_obs, outcome and miss_distance where an episode ended.

        Args:
            actions: see `EngagementBatch.step`, which also says what it raises.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
            gymnasium.error.ClosedEnvironmentError: after `close`.
        """
        self._require_open()
        if not self._ready:
            raise ResetNeeded("call reset before step")
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
        self.episodes[rows] += self._strides[rows]
        self.batch.start(rows, self.episodes[rows])

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environments are closed")

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

    def __init__(
        self,
        config: Config,
        scenario: str = "reference",
        *,
        omniscient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        _require_no_rendering(render_mode)
        self.observation_space = observation_space()
        self.action_space = action_space()
        self.batch = EngagementBatch(config, scenario, count=1, seed=0, omniscient=omniscient)
        self._episode = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the next episode, or with ``seed`` that seed's first.

        Args:
            seed: an integer >= 0 of any size.
            options: none are known.

        Raises:
            ValueError: if an option is given.
            gymnasium.error.Error: if the seed is negative.
        """
        _require_known(options)
        super().reset(seed=None if seed is None else _checked(seed))
        if seed is not None:
            self.batch.reseed(_checked(seed))
            self._episode = -1
        self._episode += 1
        self.batch.start(np.zeros(1), np.full(1, self._episode))
        return self.batch.observe()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Gymnasium's step; ``info`` names the reward terms and, at the end, outcome and miss distance [m].

        After the end nothing moves any more: the last observation, a reward of zero, still terminated.

        Args:
            action: (3,); see `EngagementBatch.step`, which also says what it raises.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if self._episode < 0:
            raise ResetNeeded("call reset before step")
        terms = self.batch.step(np.asarray(action)[None])[0]
        ended = bool(self.batch.ended[0])
        info: dict[str, Any] = {"reward_terms": dict(zip(TERMS, terms.tolist(), strict=True))}
        if ended:
            state = self.batch.state[0]
            info |= {"outcome": OUTCOMES[state["outcome"]], "miss_distance": float(state["min_distance"])}
        return self.batch.observe()[0], float(terms.sum()), ended, False, info


def _checked(seed: SupportsIndex) -> int:
    """The seed as Gymnasium takes it, numpy's integers included."""
    number = operator.index(seed)
    seeding.np_random(number)  # raises its error for a negative one
    return number


def _require_known(options: dict[str, Any] | None, *known: str) -> None:
    if unknown := (options or {}).keys() - set(known):
        names, allowed = ", ".join(sorted(map(str, unknown))), ", ".join(known) or "none"
        raise ValueError(f"options: {names} is not known; allowed: {allowed}")


def _require_no_rendering(render_mode: str | None) -> None:
    if render_mode is not None:
        raise ValueError(f"render_mode: {render_mode} is not known; allowed: None")
