"""A scan of the interceptor's radar: detection, delivery, tracking, the ground cue.

The track has the time of the measurement it processes, so a late measurement updates the state it belongs to;
`hlynr.sim.state.estimated_relative` carries the track forward to the present.
"""

import math

import numpy as np

from hlynr.sim import rng
from hlynr.sim.geometry import norm
from hlynr.sim.jit import inlined, kernel
from hlynr.sim.kalman import gains, predict_covariance, update_covariance
from hlynr.sim.state import MAX_DELAY, Row, relative


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


@kernel
def draw_jink(s: Row, p: Row, tick: int) -> None:
    """A new acceleration of the target, held until the next scan."""
    noise = rng.normal_triple(s.key, tick, rng.JINK)
    for i in range(3):
        s.jink[i] = p.jink * noise[i]


@kernel
def scan(s: Row, p: Row) -> None:
    """Predict always, measure now, update with what was measured ``delay`` scans ago."""
    number = s.tick // p.radar_interval
    _measure(s, p, number % MAX_DELAY)
    delivered = number - p.delay
    s.nis = -1.0
    if delivered < 1:
        return
    _predict(s, p)
    s.track_tick = delivered * p.radar_interval
    slot = delivered % MAX_DELAY
    if s.queue_var[slot] > 0.0:
        accepted = _update(s, p, s.queue_pos[slot], s.queue_var[slot])
        if accepted:
            s.detections += 1
            s.detection_tick = s.track_tick
            if s.first_detection_tick < 0:
                s.first_detection_tick = s.track_tick
        else:
            s.rejections += 1
    if p.cue_interval > 0 and s.track_tick % p.cue_interval == 0:
        _ground_cue(s, p)


@kernel
def _dropped(s: Row, p: Row, offset: int, probability: float) -> bool:
    """Whether this moment falls into a drop-out; drop-outs last a whole block of ``dropout_interval`` ticks."""
    return probability > 0.0 and rng.uniform(s.key, s.tick // p.dropout_interval + offset, 0) < probability


@kernel
def _measure(s: Row, p: Row, slot: int) -> None:
    s.queue_var[slot] = 0.0
    x, y, z = relative(s)
    distance = norm(x, y, z)
    speed = norm(s.own_vel[0], s.own_vel[1], s.own_vel[2])
    along = x * s.own_vel[0] + y * s.own_vel[1] + z * s.own_vel[2]
    if along < p.half_angle_cos * speed * distance:
        return
    if rng.uniform(s.key, s.tick, rng.DETECTION) >= detection_probability(
        distance, p.detection_peak, p.detection_range
    ):
        return
    if _dropped(s, p, rng.DROPOUT_TICK_OFFSET, p.radar_dropout):
        return
    noise = rng.normal_triple(s.key, s.tick, rng.MEASUREMENT)
    sigma = math.sqrt(measurement_variance(distance, p.noise_floor, p.noise_fraction))
    mx, my, mz = x + sigma * noise[0], y + sigma * noise[1], z + sigma * noise[2]
    s.queue_pos[slot, 0] = s.own_pos[0] + mx
    s.queue_pos[slot, 1] = s.own_pos[1] + my
    s.queue_pos[slot, 2] = s.own_pos[2] + mz
    # The tracker knows the measured range, not the true one.
    s.queue_var[slot] = measurement_variance(norm(mx, my, mz), p.noise_floor, p.noise_fraction)


@kernel
def _predict(s: Row, p: Row) -> None:
    interval = p.radar_interval * p.dt
    for i in range(3):
        s.track_pos[i] += interval * s.track_vel[i]
        s.track_acc[i] *= 1.0 - p.acceleration_blend
    s.p00, s.p01, s.p11 = predict_covariance(s.p00, s.p01, s.p11, interval, p.acceleration_variance)


@kernel
def _update(s: Row, p: Row, position: np.ndarray, variance: float) -> bool:
    """Update the track with one measured position unless the innovation gate rejects it."""
    dx, dy, dz = position[0] - s.track_pos[0], position[1] - s.track_pos[1], position[2] - s.track_pos[2]
    nis = (dx * dx + dy * dy + dz * dz) / (s.p00 + variance)
    if nis > p.gate:
        return False
    gain_position, gain_velocity = gains(s.p00, s.p01, variance)
    innovation = (dx, dy, dz)
    interval = p.radar_interval * p.dt
    for i in range(3):
        s.track_pos[i] += gain_position * innovation[i]
        s.track_vel[i] += gain_velocity * innovation[i]
        # What the velocity had to be corrected by per second is the acceleration the filter does not model.
        s.track_acc[i] += p.acceleration_blend * gain_velocity * innovation[i] / interval
    s.p00, s.p01, s.p11 = update_covariance(s.p00, s.p01, s.p11, gain_position, gain_velocity)
    s.nis = nis
    return True


@kernel
def _ground_cue(s: Row, p: Row) -> None:
    if _dropped(s, p, rng.CUE_DROPOUT_TICK_OFFSET, p.cue_dropout):
        return
    noise = rng.normal_triple(s.key, s.tick, rng.CUE_MEASUREMENT)
    position = np.empty(3)
    behind = (s.tick - s.track_tick) * p.dt
    for i in range(3):
        # The ground station gives the position at the track's time.
        position[i] = s.target_pos[i] - behind * s.target_vel[i] + p.cue_position_error * noise[i]
    _update(s, p, position, p.cue_position_error * p.cue_position_error)
