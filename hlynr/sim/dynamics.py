"""Point-mass motion over one tick, and the air it goes through."""

import math

from hlynr.sim.geometry import Vector, norm
from hlynr.sim.jit import inlined


@inlined
def relative_density(height: float, scale_height: float) -> float:
    """Air density over its sea-level value for an isothermal atmosphere; 1 at and below the ground.

    Source: barometric formula, exp(-h / H) with scale height H [m].
    """
    return math.exp(-max(height, 0.0) / scale_height)


@inlined
def gust_step(gust: float, decay: float, sigma: float, noise: float) -> float:
    """One exact step of an Ornstein-Uhlenbeck gust component [m/s] with stationary deviation ``sigma``.

    Args:
        decay: exp(-interval / correlation time), in (0, 1).
        noise: a standard normal draw.
    """
    return decay * gust + math.sqrt(1.0 - decay * decay) * sigma * noise


@inlined
def drag_acceleration(
    vx: float, vy: float, vz: float, height: float, coefficient: float, scale_height: float
) -> Vector:
    """Deceleration [m/s^2] of quadratic drag.

    Args:
        vx, vy, vz: velocity relative to the air [m/s].
        coefficient: drag area times sea-level density over twice the mass [1/m].
    """
    factor = -coefficient * relative_density(height, scale_height) * norm(vx, vy, vz)
    return factor * vx, factor * vy, factor * vz


@inlined
def lagged(current: float, command: float, blend: float) -> float:
    """First-order lag over one tick; ``blend`` is 1 - exp(-dt / time constant)."""
    return current + blend * (command - current)


@inlined
def weave_acceleration(amplitude: float, rate: float, phase: float, time: float) -> float:
    """Acceleration [m/s^2] along the weave axis at ``time`` [s]; ``rate`` in rad/s."""
    return amplitude * math.sin(rate * time + phase)


@inlined
def weave_velocity(amplitude: float, rate: float, phase: float, time: float) -> float:
    """Velocity [m/s] of a weave that swings about a straight line, so that its mean is zero."""
    return -amplitude / rate * math.cos(rate * time + phase)
