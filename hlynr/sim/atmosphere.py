"""Air: density over height, wind with gusts."""

import math

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
