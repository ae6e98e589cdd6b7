"""The protocol of guidance laws and networks alike."""

from typing import Any, Literal, Protocol

import numpy as np

Frame = Literal["line_of_sight", "inertial"]


class Policy(Protocol):
    """Maps observations to actions for N engagements at once, carrying a state of its own if it needs one."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def frame(self) -> Frame:
        """The axes of its actions; only a law without observations may use inertial ones."""
        ...

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """Actions for one timestep.

        Args:
            observation: (N, D) float32, by the schema of `hlynr.envs.observation`.
            state: what the previous call returned; None at the first.
            episode_start: (N,) bool, true where this observation is an episode's first.

        Returns:
            Actions (N, 3) in [-1, 1], and the state to pass to the next call.
        """
        ...
