"""The observation: a named, scaled, versioned schema in the line-of-sight frame of the estimate.

All of it is known to the interceptor: its own state, the track and the clock. The frame is the one
in which `hlynr.sim.engagement.advance` reads the action. Scales are fixed and physical; nothing is normalised
by statistics of past runs. A change of any entry raises `SCHEMA_VERSION`; a bundle of another version is not loaded.
"""

import math
from typing import NamedTuple

import numpy as np

from hlynr.sim.geometry import into_frame, line_of_sight_frame, norm
from hlynr.sim.jit import kernel
from hlynr.sim.kalman import predict_covariance
from hlynr.sim.state import Row, estimated_relative

SCHEMA_VERSION = 1
LIMIT = 5.0
"""Scaled observations are clipped to [-LIMIT, LIMIT], here and nowhere else."""


class Channel(NamedTuple):
    """One entry of the observation: ``value in unit = scale * entry``."""

    name: str
    unit: str
    scale: float


SCHEMA = (
    Channel("range", "m", 3000.0),
    Channel("closing_velocity", "m/s", 300.0),
    Channel("relative_velocity_2", "m/s", 300.0),
    Channel("relative_velocity_3", "m/s", 300.0),
    Channel("own_velocity_1", "m/s", 300.0),
    Channel("own_velocity_2", "m/s", 300.0),
    Channel("own_velocity_3", "m/s", 300.0),
    Channel("own_acceleration_1", "m/s^2", 40.0),
    Channel("own_acceleration_2", "m/s^2", 40.0),
    Channel("own_acceleration_3", "m/s^2", 40.0),
    Channel("target_acceleration_1", "m/s^2", 40.0),
    Channel("target_acceleration_2", "m/s^2", 40.0),
    Channel("target_acceleration_3", "m/s^2", 40.0),
    Channel("fuel", "1", 1.0),
    Channel("own_height", "m", 3000.0),
    Channel("target_height", "m", 3000.0),
    Channel("sin_elevation", "1", 1.0),
    Channel("cos_elevation", "1", 1.0),
    Channel("position_sigma", "m", 300.0),
    Channel("velocity_sigma", "m/s", 40.0),
    Channel("since_detection", "s", 1.0),
    Channel("ever_detected", "1", 1.0),
    Channel("off_boresight", "rad", 0.3),
    Channel("time_left", "s", 10.0),
    Channel("time_to_go", "s", 5.0),
    Channel("los_rate_2", "rad/s", 0.1),
    Channel("los_rate_3", "rad/s", 0.1),
    Channel("zero_effort_miss_2", "m", 500.0),
    Channel("zero_effort_miss_3", "m", 500.0),
)
SIZE = len(SCHEMA)
INDEX = {channel.name: index for index, channel in enumerate(SCHEMA)}
SCALES = np.array([channel.scale for channel in SCHEMA])
_TIME_TO_GO_LIMIT = 25.0  # [s]; an opening pair has no closest approach ahead


def decode(observation: np.ndarray, name: str) -> np.ndarray:
    """One channel in its unit, (N,) float64, from observations (N, SIZE)."""
    index = INDEX[name]
    return observation[:, index].astype(np.float64) * SCHEMA[index].scale


@kernel
def observe(state: np.ndarray, params: np.ndarray, out: np.ndarray) -> None:
    """Fill ``out`` (N, SIZE) float32 with the scaled, clipped observations of ``state`` (N,)."""
    p = params[0]
    row = np.empty(SIZE)
    for i in range(state.shape[0]):
        _fill(state[i], p, row)
        for k in range(SIZE):
            out[i, k] = min(LIMIT, max(-LIMIT, row[k] / SCALES[k]))


@kernel
def _fill(s: Row, p: Row, row: np.ndarray) -> None:
    x, y, z = estimated_relative(s, p)
    distance = norm(x, y, z)
    frame = line_of_sight_frame(x, y, z)
    omniscient = p.omniscient != 0
    target_vel = s.target_vel if omniscient else s.track_vel
    target_acc = s.target_acc if omniscient else s.track_acc
    rel = into_frame(frame, target_vel[0] - s.own_vel[0], target_vel[1] - s.own_vel[1], target_vel[2] - s.own_vel[2])
    own = into_frame(frame, s.own_vel[0], s.own_vel[1], s.own_vel[2])
    acc = into_frame(frame, s.own_acc[0], s.own_acc[1], s.own_acc[2])
    other = into_frame(frame, target_acc[0], target_acc[1], target_acc[2])
    row[0] = distance
    row[1], row[2], row[3] = -rel[0], rel[1], rel[2]
    row[4], row[5], row[6] = own
    row[7], row[8], row[9] = acc
    row[10], row[11], row[12] = other
    row[13] = s.fuel
    row[14] = s.own_pos[2]
    row[15] = s.own_pos[2] + z
    row[16] = frame[0][2]
    row[17] = frame[2][2]
    _fill_knowledge(s, p, omniscient, row)
    speed = max(norm(own[0], own[1], own[2]), 1e-9)
    row[22] = math.acos(min(1.0, max(-1.0, own[0] / speed)))
    row[23] = (p.time_limit - s.tick) * p.dt
    near = max(distance, 1.0)
    closing = -rel[0]
    time_to_go = min(near / closing, _TIME_TO_GO_LIMIT) if closing > near / _TIME_TO_GO_LIMIT else _TIME_TO_GO_LIMIT
    row[24] = time_to_go
    row[25], row[26] = rel[1] / near, rel[2] / near
    row[27], row[28] = rel[1] * time_to_go, rel[2] * time_to_go


@kernel
def _fill_knowledge(s: Row, p: Row, omniscient: bool, row: np.ndarray) -> None:
    """The track's standard deviation now, and the age of the newest detection."""
    if omniscient:
        row[18], row[19], row[20], row[21] = 0.0, 0.0, 0.0, 1.0
        return
    ahead = (s.tick - s.track_tick) * p.dt
    p00, _, p11 = predict_covariance(s.p00, s.p01, s.p11, ahead, p.acceleration_variance)
    row[18], row[19] = math.sqrt(p00), math.sqrt(p11)
    row[20] = (s.tick - max(s.detection_tick, 0)) * p.dt
    row[21] = 1.0 if s.detection_tick >= 0 else 0.0
