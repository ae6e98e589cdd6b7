"""Guidance laws as policies, on the same observations as a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.observation import decode
from hlynr.evaluation.policy import Frame
from hlynr.sim.guidance import augmented_navigation, proportional_navigation, velocity_pursuit, with_axial_remainder
from hlynr.sim.rng import hashed_uniforms

LAWS = ("zero", "random", "pursuit", "heading", "pn", "apn", "inertial")

Command = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Law:
    """A stateless policy: a name and a function from observations (N, D) to actions (N, 3)."""

    name: str
    command: Command
    frame: Frame = "line_of_sight"

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `hlynr.evaluation.policy.Policy`."""
        return self.command(observation), state


def law(name: str, config: Config, scenario: str) -> Law:
    """The guidance law ``name`` of `LAWS` with the settings of the policy section.

    ``random`` draws uniformly from the action box; the draw is a hash of the observation, so that it is
    the same in every batch. ``pursuit`` points its acceleration at the target, ``heading`` its velocity.
    ``inertial`` uses no observation: one constant acceleration.

    Raises:
        KeyError: if there is no such law.
    """
    policy, limit = config.policy, config.scenarios[scenario].interceptor.max_acceleration

    def guided(lateral: Command) -> Command:
        return lambda observation: with_axial_remainder(lateral(observation), limit, policy.axial)

    if name == "inertial":
        return Law(name, lambda observation: np.tile(policy.inertial, (len(observation), 1)), frame="inertial")
    commands: dict[str, Command] = {
        "zero": lambda observation: np.zeros((len(observation), 3)),
        "random": lambda observation: 2.0 * hashed_uniforms(observation, 3) - 1.0,
        "pursuit": lambda observation: np.tile((1.0, 0.0, 0.0), (len(observation), 1)),
        "heading": guided(lambda observation: velocity_pursuit(_vector(observation, "own_velocity", 1, 2, 3))),
        "pn": guided(
            lambda observation: proportional_navigation(
                decode(observation, "closing_velocity"), _los_rate(observation), policy.navigation_constant
            )
        ),
        "apn": guided(
            lambda observation: augmented_navigation(
                decode(observation, "closing_velocity"),
                _los_rate(observation),
                _vector(observation, "target_acceleration", 2, 3),
                policy.navigation_constant,
            )
        ),
    }
    return Law(name, commands[name])


def _vector(observation: np.ndarray, name: str, *axes: int) -> np.ndarray:
    return np.stack([decode(observation, f"{name}_{axis}") for axis in axes], axis=1)


def _los_rate(observation: np.ndarray) -> np.ndarray:
    """(N, 2) [rad/s], from range and velocity: the observed rate itself is clipped near the end."""
    return np.asarray(
        _vector(observation, "relative_velocity", 2, 3) / np.maximum(decode(observation, "range"), 1.0)[:, None]
    )
