"""The initial state of engagements: everything that is drawn at tick 0."""

import math

import numpy as np

from hlynr.sim import rng
from hlynr.sim.dynamics import weave_acceleration, weave_velocity
from hlynr.sim.geometry import line_of_sight_frame, norm, out_of_frame
from hlynr.sim.jit import kernel
from hlynr.sim.sensing import draw_jink
from hlynr.sim.state import MAX_DELAY, RUNNING, Row, relative


@kernel
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
        if p.jink > 0.0:
            draw_jink(s, p, rng.FIRST_JINK_TICK)
        s.detections = 0
        s.rejections = 0
        s.detection_tick = -1
        s.first_detection_tick = -1
        s.nis = -1.0
        for k in range(MAX_DELAY):
            s.queue_var[k] = 0.0
            for i in range(3):
                s.queue_pos[k, i] = 0.0
        dx, dy, dz = relative(s)
        s.min_distance = norm(dx, dy, dz)


@kernel
def _between(low: float, high: float, unit: float) -> float:
    return low + (high - low) * unit


@kernel
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


@kernel
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


@kernel
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


@kernel
def _still_air(s: Row, p: Row) -> None:
    speed = _between(p.wind_low, p.wind_high, rng.uniform(s.key, 0, rng.WIND_SPEED))
    direction = 2.0 * math.pi * rng.uniform(s.key, 0, rng.WIND_DIRECTION)
    s.wind[0], s.wind[1], s.wind[2] = speed * math.cos(direction), speed * math.sin(direction), 0.0
    for i in range(3):
        s.gust[i] = 0.0
