"""Engagements: state, parameters, and the three verbs initial, advance, outcome.

The state of N engagements is one structured array of N rows, so ``state["target_pos"]`` is a view of shape
(N, 3). The kernels are serial: one core steps one batch, and processes share nothing.

Time: a tick is one physics step of ``dt`` [s]; a timestep is ``control_interval`` ticks with one command.
Coordinates are east, north, up [m]; the defended point is the origin; relative means target minus interceptor.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from hlynr.sim import rng
from hlynr.sim.atmosphere import gust_step
from hlynr.sim.dynamics import drag_acceleration, lagged, weave_acceleration, weave_velocity
from hlynr.sim.geometry import into_frame, line_of_sight_frame, norm, out_of_frame, segment_distance_squared
from hlynr.sim.radar import detection_probability, measurement_variance
from hlynr.sim.tracking import gains, predict_covariance, update_covariance

Row = Any
"""One row of `STATE` or `PARAMETERS` inside a kernel, its fields read as attributes; numba knows the types."""

RUNNING, INTERCEPT, TARGET_IMPACT, GROUND, TIMEOUT = 0, 1, 2, 3, 4
OUTCOMES = ("running", "intercept", "target_impact", "ground", "timeout")
"""Names of the outcome codes in ``state["outcome"]``."""

MAX_DELAY = 8
"""Longest radar delay that fits the measurement queue, in radar scans."""

STATE = np.dtype(
    [
        ("key", np.uint64),
        ("tick", np.int64),
        ("outcome", np.int64),
        ("target_pos", np.float64, 3),
        ("target_vel", np.float64, 3),
        ("target_acc", np.float64, 3),
        ("target_speed", np.float64),
        ("weave_axis", np.float64, 3),
        ("weave_amplitude", np.float64),
        ("weave_rate", np.float64),
        ("weave_phase", np.float64),
        ("jink", np.float64, 3),
        ("own_pos", np.float64, 3),
        ("own_vel", np.float64, 3),
        ("own_acc", np.float64, 3),
        ("fuel", np.float64),
        ("wind", np.float64, 3),
        ("gust", np.float64, 3),
        ("track_pos", np.float64, 3),
        ("track_vel", np.float64, 3),
        ("track_acc", np.float64, 3),
        ("p00", np.float64),
        ("p01", np.float64),
        ("p11", np.float64),
        ("track_tick", np.int64),
        ("detections", np.int64),
        ("rejections", np.int64),
        ("detection_tick", np.int64),
        ("first_detection_tick", np.int64),
        ("nis", np.float64),
        ("queue_pos", np.float64, (MAX_DELAY, 3)),
        ("queue_var", np.float64, MAX_DELAY),
        ("min_distance", np.float64),
        ("spawn_range", np.float64),
        ("spawn_azimuth", np.float64),
        ("spawn_elevation", np.float64),
    ]
)
"""One engagement. ``outcome`` is a code of `OUTCOMES`; ``fuel`` is what is left, in [0, 1]; ``track_*`` is the
estimate at ``track_tick``, the tick of the newest scan the tracker has processed; ``detection_tick`` is the tick
of the newest accepted measurement (-1: none yet); ``nis`` belongs to the newest update and is -1 after a scan
without one; ``queue_*`` holds measurements not yet delivered, with variance 0 for a scan without detection."""

PARAMETERS = np.dtype(
    [
        (name, np.float64)
        for name in (
            "dt gravity scale_height capture_radius spawn_range spawn_spread elevation_low elevation_high aim_spread "
            "speed_low speed_high weave_low weave_high weave_period_low weave_period_high jink "
            "launch_speed launch_error launch_elevation_min launch_height max_acceleration fuel_time lag_blend drag "
            "half_angle_cos detection_peak detection_range noise_floor noise_fraction radar_dropout "
            "cue_position_error cue_velocity_error cue_dropout wind_low wind_high gust gust_decay "
            "acceleration_variance gate acceleration_blend"
        ).split()
    ]
    + [
        (name, np.int64)
        for name in (
            "control_interval radar_interval gust_interval delay cue_interval dropout_interval time_limit omniscient"
        ).split()
    ]
)
"""One scenario as the kernels want it: derived constants instead of settings. Built by `hlynr.sim.scenario`."""


@njit(cache=True)
def initial(state: np.ndarray, index: np.ndarray, episodes: np.ndarray, seed: int, params: np.ndarray) -> None:
    """Start engagements in place: row ``index[j]`` becomes episode ``episodes[j]`` of ``seed``.

    Args:
        state: (N,) of `STATE`.
        index: (M,) int64 rows to start.
        episodes: (M,) int64 episode numbers, any value >= 0.
        params: (1,) of `PARAMETERS`.
    """
    p = params[0]
    for j in range(index.shape[0]):
        s = state[index[j]]
        s.key = rng.engagement_key(seed, episodes[j])
        s.tick = 0
        s.outcome = RUNNING
        _spawn_target(s, p)
        _cue(s, p)
        _launch(s, p)
        _still_air(s, p)
        s.detections = 0
        s.rejections = 0
        s.detection_tick = -1
        s.first_detection_tick = -1
        s.nis = -1.0
        for k in range(MAX_DELAY):
            s.queue_var[k] = 0.0
        dx, dy, dz = _relative(s)
        s.min_distance = norm(dx, dy, dz)


@njit(cache=True)
def _between(low: float, high: float, unit: float) -> float:
    return low + (high - low) * unit


@njit(cache=True)
def _spawn_target(s: Row, p: Row) -> None:
    distance = p.spawn_range * (1.0 + p.spawn_spread * (2.0 * rng.uniform(s.key, 0, rng.SPAWN_RANGE) - 1.0))
    azimuth = 2.0 * math.pi * rng.uniform(s.key, 0, rng.SPAWN_AZIMUTH)
    elevation = _between(p.elevation_low, p.elevation_high, rng.uniform(s.key, 0, rng.SPAWN_ELEVATION))
    s.spawn_range, s.spawn_azimuth, s.spawn_elevation = distance, azimuth, elevation
    level = distance * math.cos(elevation)
    x, y, z = level * math.cos(azimuth), level * math.sin(azimuth), distance * math.sin(elevation)
    aim_x, aim_y = rng.normal_pair(s.key, 0, rng.AIM)
    frame = line_of_sight_frame(p.aim_spread * aim_x - x, p.aim_spread * aim_y - y, -z)
    along = frame[0]
    roll = 2.0 * math.pi * rng.uniform(s.key, 0, rng.WEAVE_ROLL)
    axis = out_of_frame(frame, 0.0, math.cos(roll), math.sin(roll))
    s.target_speed = _between(p.speed_low, p.speed_high, rng.uniform(s.key, 0, rng.TARGET_SPEED))
    s.weave_amplitude = _between(p.weave_low, p.weave_high, rng.uniform(s.key, 0, rng.WEAVE_AMPLITUDE))
    period = _between(p.weave_period_low, p.weave_period_high, rng.uniform(s.key, 0, rng.WEAVE_PERIOD))
    s.weave_rate = 2.0 * math.pi / period
    s.weave_phase = 2.0 * math.pi * rng.uniform(s.key, 0, rng.WEAVE_PHASE)
    swing = weave_velocity(s.weave_amplitude, s.weave_rate, s.weave_phase, 0.0)
    lateral = weave_acceleration(s.weave_amplitude, s.weave_rate, s.weave_phase, 0.0)
    pos = (x, y, z)
    for i in range(3):
        s.target_pos[i] = pos[i]
        s.target_vel[i] = s.target_speed * along[i] + swing * axis[i]
        s.target_acc[i] = lateral * axis[i]
        s.weave_axis[i] = axis[i]
        s.jink[i] = 0.0


@njit(cache=True)
def _cue(s: Row, p: Row) -> None:
    """The ground-based cue that starts the track."""
    position = rng.normal_triple(s.key, rng.CUE_POSITION_TICK, 0)
    velocity = rng.normal_triple(s.key, rng.CUE_VELOCITY_TICK, 0)
    for i in range(3):
        s.track_pos[i] = s.target_pos[i] + p.cue_position_error * position[i]
        s.track_vel[i] = s.target_vel[i] + p.cue_velocity_error * velocity[i]
        s.track_acc[i] = 0.0
    s.p00 = p.cue_position_error * p.cue_position_error
    s.p01 = 0.0
    s.p11 = p.cue_velocity_error * p.cue_velocity_error
    s.track_tick = 0


@njit(cache=True)
def _launch(s: Row, p: Row) -> None:
    """Launch toward the cue with a direction error; the launcher does not point below its lowest elevation."""
    frame = line_of_sight_frame(s.track_pos[0], s.track_pos[1], s.track_pos[2] - p.launch_height)
    a, b = rng.normal_pair(s.key, 0, rng.LAUNCH)
    error = p.launch_error * math.hypot(a, b)
    scale = p.launch_error * math.sin(error) / error if error > 0.0 else 0.0
    dx, dy, dz = out_of_frame(frame, math.cos(error), scale * a, scale * b)
    elevation = max(math.atan2(dz, math.hypot(dx, dy)), p.launch_elevation_min)
    azimuth = math.atan2(dy, dx)
    direction = (
        math.cos(elevation) * math.cos(azimuth),
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
    )
    for i in range(3):
        s.own_pos[i] = 0.0
        s.own_vel[i] = p.launch_speed * direction[i]
        s.own_acc[i] = 0.0
    s.own_pos[2] = p.launch_height
    s.fuel = 1.0


@njit(cache=True)
def _still_air(s: Row, p: Row) -> None:
    speed = _between(p.wind_low, p.wind_high, rng.uniform(s.key, 0, rng.WIND_SPEED))
    direction = 2.0 * math.pi * rng.uniform(s.key, 0, rng.WIND_DIRECTION)
    s.wind[0], s.wind[1], s.wind[2] = speed * math.cos(direction), speed * math.sin(direction), 0.0
    for i in range(3):
        s.gust[i] = 0.0


@njit(cache=True, inline="always")
def _relative(s: Row) -> tuple[float, float, float]:
    return (
        s.target_pos[0] - s.own_pos[0],
        s.target_pos[1] - s.own_pos[1],
        s.target_pos[2] - s.own_pos[2],
    )


@njit(cache=True)
def estimated_relative(s: Row, p: Row) -> tuple[float, float, float]:
    """Relative position [m] that the interceptor believes now: the track carried forward to this tick.

    With ``omniscient`` set it is the truth.
    """
    if p.omniscient:
        return _relative(s)
    ahead = (s.tick - s.track_tick) * p.dt
    return (
        s.track_pos[0] + ahead * s.track_vel[0] - s.own_pos[0],
        s.track_pos[1] + ahead * s.track_vel[1] - s.own_pos[1],
        s.track_pos[2] + ahead * s.track_vel[2] - s.own_pos[2],
    )


@njit(cache=True, nogil=True)
def advance(state: np.ndarray, action: np.ndarray, params: np.ndarray) -> None:
    """Advance every running engagement by one timestep, in place; finished ones stay as they are.

    Args:
        state: (N,) of `STATE`.
        action: (N, 3) acceleration command in the line-of-sight frame of the estimate, as a fraction of the
            acceleration limit. A vector longer than 1 is shortened to 1. A component that is not a number
            counts as 0.
        params: (1,) of `PARAMETERS`.
    """
    p = params[0]
    for i in range(state.shape[0]):
        s = state[i]
        if s.outcome != RUNNING:
            continue
        cx, cy, cz = _command(s, p, action[i, 0], action[i, 1], action[i, 2])
        for _ in range(p.control_interval):
            _tick(s, p, cx, cy, cz)
            if s.outcome != RUNNING:
                break


@njit(cache=True)
def _command(s: Row, p: Row, u: float, v: float, w: float) -> tuple[float, float, float]:
    u = u if u == u else 0.0
    v = v if v == v else 0.0
    w = w if w == w else 0.0
    length = norm(u, v, w)
    scale = p.max_acceleration / max(length, 1.0)
    x, y, z = estimated_relative(s, p)
    return out_of_frame(line_of_sight_frame(x, y, z), scale * u, scale * v, scale * w)


@njit(cache=True)
def into_line_of_sight(state: np.ndarray, command: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Inertial vectors (N, 3) in the frames in which `advance` reads actions, (N, 3)."""
    out = np.empty_like(command)
    for i in range(state.shape[0]):
        x, y, z = estimated_relative(state[i], params[0])
        out[i, 0], out[i, 1], out[i, 2] = into_frame(
            line_of_sight_frame(x, y, z), command[i, 0], command[i, 1], command[i, 2]
        )
    return out


@njit(cache=True, inline="always")
def _tick(s: Row, p: Row, cx: float, cy: float, cz: float) -> None:
    rx, ry, rz = _relative(s)
    _move_target(s, p)
    _move_interceptor(s, p, cx, cy, cz)
    s.tick += 1
    if s.tick % p.gust_interval == 0:
        _gust(s, p)
    if s.tick % p.radar_interval == 0:
        if p.jink > 0.0:
            _jink(s, p)
        _scan(s, p)
    _judge(s, p, rx, ry, rz)


@njit(cache=True, inline="always")
def _move_target(s: Row, p: Row) -> None:
    """Constant mean velocity plus weave plus jink; the acceleration of a tick is that at its middle."""
    swing = weave_acceleration(s.weave_amplitude, s.weave_rate, s.weave_phase, (s.tick + 0.5) * p.dt)
    for i in range(3):
        a = swing * s.weave_axis[i] + s.jink[i]
        s.target_pos[i] += p.dt * (s.target_vel[i] + 0.5 * p.dt * a)
        s.target_vel[i] += p.dt * a
        s.target_acc[i] = a


@njit(cache=True, inline="always")
def _move_interceptor(s: Row, p: Row, cx: float, cy: float, cz: float) -> None:
    command = (cx, cy, cz)
    drag = drag_acceleration(
        s.own_vel[0] - s.wind[0] - s.gust[0],
        s.own_vel[1] - s.wind[1] - s.gust[1],
        s.own_vel[2] - s.wind[2] - s.gust[2],
        s.own_pos[2],
        p.drag,
        p.scale_height,
    )
    for i in range(3):
        s.own_acc[i] = lagged(s.own_acc[i], command[i], p.lag_blend) if s.fuel > 0.0 else 0.0
        a = s.own_acc[i] + drag[i] - (p.gravity if i == 2 else 0.0)
        s.own_pos[i] += p.dt * (s.own_vel[i] + 0.5 * p.dt * a)
        s.own_vel[i] += p.dt * a
    spent = norm(s.own_acc[0], s.own_acc[1], s.own_acc[2]) / p.max_acceleration * p.dt / p.fuel_time
    s.fuel = max(0.0, s.fuel - spent)


@njit(cache=True)
def _gust(s: Row, p: Row) -> None:
    noise = rng.normal_triple(s.key, s.tick + rng.GUST_TICK_OFFSET, rng.GUST)
    for i in range(3):
        s.gust[i] = gust_step(s.gust[i], p.gust_decay, p.gust, noise[i])


@njit(cache=True)
def _jink(s: Row, p: Row) -> None:
    noise = rng.normal_triple(s.key, s.tick, rng.JINK)
    for i in range(3):
        s.jink[i] = p.jink * noise[i]


@njit(cache=True)
def _scan(s: Row, p: Row) -> None:
    """One radar scan: predict always, measure now, deliver what was measured ``delay`` scans ago.

    The tracker lives at the time of the measurement it processes, so a late measurement meets the state it
    belongs to; `estimated_relative` carries the track forward to the present.
    """
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


@njit(cache=True)
def _dropped(s: Row, p: Row, offset: int, probability: float) -> bool:
    """Whether this moment falls into a drop-out; drop-outs last a whole block of ``dropout_interval`` ticks."""
    return probability > 0.0 and rng.uniform(s.key, s.tick // p.dropout_interval + offset, 0) < probability


@njit(cache=True)
def _measure(s: Row, p: Row, slot: int) -> None:
    s.queue_var[slot] = 0.0
    x, y, z = _relative(s)
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


@njit(cache=True)
def _predict(s: Row, p: Row) -> None:
    interval = p.radar_interval * p.dt
    for i in range(3):
        s.track_pos[i] += interval * s.track_vel[i]
        s.track_acc[i] *= 1.0 - p.acceleration_blend
    s.p00, s.p01, s.p11 = predict_covariance(s.p00, s.p01, s.p11, interval, p.acceleration_variance)


@njit(cache=True)
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


@njit(cache=True)
def _ground_cue(s: Row, p: Row) -> None:
    if _dropped(s, p, rng.CUE_DROPOUT_TICK_OFFSET, p.cue_dropout):
        return
    noise = rng.normal_triple(s.key, s.tick, rng.CUE_MEASUREMENT)
    position = np.empty(3)
    behind = (s.tick - s.track_tick) * p.dt
    for i in range(3):
        # The ground station stamps its position with the time the track stands at.
        position[i] = s.target_pos[i] - behind * s.target_vel[i] + p.cue_position_error * noise[i]
    _update(s, p, position, p.cue_position_error * p.cue_position_error)


@njit(cache=True, inline="always")
def _judge(s: Row, p: Row, x: float, y: float, z: float) -> None:
    """Closest approach within the tick, and the outcome: the one place where success is decided.

    Inside the capture radius an engagement goes on until the range opens, so that the miss distance is the
    closest approach and not the moment of entry. Whatever ends it, an engagement whose minimum distance is
    within the capture radius is an intercept.
    """
    nx, ny, nz = _relative(s)
    closest = math.sqrt(segment_distance_squared(x, y, z, nx, ny, nz))
    s.min_distance = min(s.min_distance, closest)
    captured = s.min_distance <= p.capture_radius
    opening = norm(nx, ny, nz) > s.min_distance + 1e-6
    if captured and opening:
        s.outcome = INTERCEPT
    elif s.target_pos[2] <= 0.0:
        s.outcome = INTERCEPT if captured else TARGET_IMPACT
    elif s.own_pos[2] <= 0.0:
        s.outcome = INTERCEPT if captured else GROUND
    elif s.tick >= p.time_limit:
        s.outcome = INTERCEPT if captured else TIMEOUT


def fresh(count: int) -> np.ndarray:
    """An uninitialised-but-zeroed state of ``count`` engagements; call `initial` before `advance`."""
    return np.zeros(count, dtype=STATE)
