"""The radar on the interceptor: when it detects and how well it measures."""

import math

from hlynr.sim.jit import inlined


@inlined
def detection_probability(distance: float, peak: float, reference_range: float) -> float:
    """Probability of a detection in one scan of a target inside the beam.

    ``peak * exp(-(r / R)^4)``: signal power falls with the fourth power of the range (the radar equation).
    """
    ratio = distance / reference_range
    ratio2 = ratio * ratio
    return peak * math.exp(-ratio2 * ratio2)


@inlined
def measurement_variance(distance: float, floor: float, fraction: float) -> float:
    """Variance [m^2] of each component of a position measurement at ``distance`` [m]."""
    scaled = fraction * distance
    return floor * floor + scaled * scaled
