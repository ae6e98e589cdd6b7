"""Textbook guidance laws in the line-of-sight frame, batched.

The first axis points along the line of sight, the two lateral axes across it.
Source: Zarchan, "Tactical and Strategic Missile Guidance", 6th ed. (2012), chapters 2 (PN) and 8 (augmented PN).
"""

import numpy as np


def proportional_navigation(
    closing_velocity: np.ndarray, los_rate: np.ndarray, navigation_constant: float
) -> np.ndarray:
    """Lateral acceleration N Vc lambda_dot, (N, 2) [m/s^2].

    Args:
        closing_velocity: (N,) [m/s], positive when closing.
        los_rate: (N, 2) line-of-sight rate along the two lateral axes [rad/s].
    """
    return np.asarray(navigation_constant * closing_velocity[:, None] * los_rate)


def augmented_navigation(
    closing_velocity: np.ndarray, los_rate: np.ndarray, target_acceleration: np.ndarray, navigation_constant: float
) -> np.ndarray:
    """Proportional navigation plus N/2 times the target's lateral acceleration (N, 2) [m/s^2]."""
    return proportional_navigation(closing_velocity, los_rate, navigation_constant) + (
        0.5 * navigation_constant * target_acceleration
    )


def velocity_pursuit(own_velocity: np.ndarray) -> np.ndarray:
    """Lateral acceleration (N, 2) [m/s^2] that turns the velocity (N, 3) [m/s] onto the line of sight.

    The lateral velocity decays with a time constant of half a second.
    """
    return np.asarray(-own_velocity[:, 1:] / 0.5)


def with_axial_remainder(lateral: np.ndarray, limit: float, axial: float) -> np.ndarray:
    """Command (N, 3) from a lateral acceleration (N, 2) [m/s^2] under the limit [m/s^2].

    The lateral part comes first, cut to the limit; the fraction ``axial`` of what then remains goes along
    the line of sight.
    """
    lateral = lateral / limit
    length = np.linalg.norm(lateral, axis=1, keepdims=True)
    lateral = lateral / np.maximum(length, 1.0)
    remainder = np.sqrt(np.maximum(0.0, 1.0 - np.minimum(length, 1.0) ** 2))
    return np.concatenate([axial * remainder, lateral], axis=1)
