"""The batched environment as a stable-baselines3 VecEnv."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from hlynr.envs.environments import InterceptVectorEnv
from hlynr.envs.reward import TERMS
from hlynr.sim.state import INTERCEPT, RUNNING

_NOTHING: dict[str, Any] = {}


class InterceptVecEnv(VecEnv):
    """Adapts `InterceptVectorEnv` without SB3's per-environment costs.

    Every step hands out fresh arrays, since SB3 adds to the returned rewards in place. Where no episode ended
    the info is one shared empty dict; where one ended it is fresh and holds SB3's ``episode`` record and
    ``is_success``. There is no ``terminal_observation``: every ending is a termination, so SB3 never asks for it.
    """

    def __init__(self, env: InterceptVectorEnv) -> None:
        self.env = env  # first, since SB3's constructor asks it for its render mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions = np.zeros((env.num_envs, 3))
        self._returns = np.zeros((env.num_envs, len(TERMS)))
        self._lengths = np.zeros(env.num_envs, dtype=np.int64)
        self.finished_terms: list[np.ndarray] = []
        """Reward terms of the episodes that ended since `take_finished`."""
        self.successes = 0
        """Intercepts since `take_finished`."""

    def reset(self) -> np.ndarray:
        """Start every environment's first episode, or the next one after a first."""
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self.env.reset()[0]

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """SB3's step: observations (N, D), rewards (N,), dones (N,), infos."""
        batch = self.env.batch
        terms = batch.step(self._actions)
        self._returns += terms
        self._lengths += 1
        outcome = batch.state["outcome"].copy()
        infos = [_NOTHING] * self.num_envs
        ended = np.flatnonzero(outcome != RUNNING)
        for row in ended.tolist():
            infos[row] = {
                "episode": {"r": float(self._returns[row].sum()), "l": int(self._lengths[row])},
                "is_success": bool(outcome[row] == INTERCEPT),
            }
        if len(ended):
            self.finished_terms.append(self._returns[ended])
            self.successes += int((outcome == INTERCEPT).sum())
            self._returns[ended] = 0.0
            self._lengths[ended] = 0
            self.env.restart(ended)
        return batch.observe(), terms.sum(axis=1).astype(np.float32), outcome != RUNNING, infos

    def take_finished(self) -> tuple[np.ndarray, int]:
        """Reward terms (M, len(TERMS)) of the episodes ended since the last call, and how many of them succeeded."""
        finished, successes = np.concatenate([np.empty((0, len(TERMS))), *self.finished_terms]), self.successes
        self.finished_terms, self.successes = [], 0
        return finished, successes

    def set_capture_radius(self, radius: float) -> None:
        """Set the capture radius [m] from the next tick on, also of running engagements."""
        self.env.batch.params["capture_radius"] = radius

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything from which `load_state_dict` continues as if nothing had happened."""
        return {
            "state": self.env.batch.state.view(np.uint8).copy(),
            "episodes": self.env.episodes.copy(),
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
        }

    def load_state_dict(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `state_dict` returned, into an environment of the same size.

        Raises:
            ValueError: if it is not of this size.
        """
        targets: dict[str, np.ndarray] = {
            "state": self.env.batch.state.view(np.uint8),
            "episodes": self.env.episodes,
            "returns": self._returns,
            "lengths": self._lengths,
        }
        for name, target in targets.items():
            if (saved[name].shape, saved[name].dtype) != (target.shape, target.dtype):
                raise ValueError(
                    f"{name}: {saved[name].dtype} {saved[name].shape} is not {target.dtype} {target.shape}"
                )
        for name, target in targets.items():
            target[:] = saved[name]

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The batch's attribute, once per asked environment."""
        return [getattr(self.env, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises AttributeError: environments of a batch cannot differ."""
        raise AttributeError(f"{attr_name}: the environments of a batch cannot be changed one by one")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Raises AttributeError: environments of a batch have no methods of their own."""
        raise AttributeError(f"{method_name}: the environments of a batch have no methods of their own")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never: the batch is not made of wrapped environments."""
        return [False] * self._count(indices)

    def _count(self, indices: int | Sequence[int] | None) -> int:
        return self.num_envs if indices is None else 1 if isinstance(indices, int) else len(indices)
