"""The Kalman filter that turns radar measurements into a track.

A constant-velocity filter in three dimensions. The measurement noise is the same on every axis and so is the
initial uncertainty, hence the 6 x 6 covariance is three copies of one 2 x 2 block: the filter carries three
numbers (p00, p01, p11) instead of 36 and loses nothing. `tests/sim/test_kalman.py` replays recorded
measurements through filterpy's six-state filter and demands the same track.

Source: Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001),
sections 5.2 (filter), 6.3.2 (discrete white-noise acceleration), 5.4 (NIS, NEES).
"""

from hlynr.sim.jit import inlined


@inlined
def predict_covariance(
    p00: float, p01: float, p11: float, interval: float, acceleration_variance: float
) -> tuple[float, float, float]:
    """Covariance block after ``interval`` [s] of white acceleration held constant over that interval.

    Args:
        p00, p01, p11: position [m^2], cross [m^2/s] and velocity [m^2/s^2] variance.
        acceleration_variance: of the held acceleration, per axis [m^2/s^4].
    """
    half = 0.5 * interval * interval
    return (
        p00 + interval * (2.0 * p01 + interval * p11) + acceleration_variance * half * half,
        p01 + interval * p11 + acceleration_variance * half * interval,
        p11 + acceleration_variance * interval * interval,
    )


@inlined
def gains(p00: float, p01: float, variance: float) -> tuple[float, float]:
    """Kalman gains for position [-] and velocity [1/s] given the measurement variance [m^2]."""
    innovation_variance = p00 + variance
    return p00 / innovation_variance, p01 / innovation_variance


@inlined
def update_covariance(
    p00: float, p01: float, p11: float, gain_position: float, gain_velocity: float
) -> tuple[float, float, float]:
    """Covariance block after an update with the optimal gains."""
    return (1.0 - gain_position) * p00, (1.0 - gain_position) * p01, p11 - gain_velocity * p01
