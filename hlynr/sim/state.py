"""The state of engagements and the parameters of their scenario, as rows for the kernels."""

from typing import Any

import numpy as np

from hlynr.sim.jit import inlined, kernel

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
"""One engagement. ``outcome`` is a code of `OUTCOMES`; ``fuel`` is the remaining fraction; ``track_*`` is the
estimate at ``track_tick``, the tick of the newest scan the tracker has processed; ``detection_tick`` is the tick
of the newest accepted measurement (-1: none yet); ``nis`` belongs to the newest update and is -1 after a scan
without one; ``queue_*`` holds measurements not yet delivered, with variance 0 for a scan without detection."""

_REALS = (
    "dt", "gravity", "scale_height", "capture_radius",
    "spawn_range", "spawn_spread", "elevation_low", "elevation_high", "aim_spread",
    "speed_low", "speed_high", "weave_low", "weave_high", "weave_period_low", "weave_period_high", "jink",
    "launch_speed", "launch_error", "launch_elevation_min", "launch_height",
    "max_acceleration", "fuel_time", "lag_blend", "drag",
    "half_angle_cos", "detection_peak", "detection_range", "noise_floor", "noise_fraction", "radar_dropout",
    "cue_position_error", "cue_velocity_error", "cue_dropout",
    "wind_low", "wind_high", "gust", "gust_decay",
    "acceleration_variance", "gate", "acceleration_blend",
)  # fmt: skip
_INTEGERS = (
    "control_interval", "radar_interval", "gust_interval", "delay", "cue_interval", "dropout_interval", "time_limit",
    "omniscient",
)  # fmt: skip
PARAMETERS = np.dtype([*((name, np.float64) for name in _REALS), *((name, np.int64) for name in _INTEGERS)])
"""One scenario as constants for the kernels, derived from the settings by `hlynr.sim.scenario`."""


@inlined
def relative(s: Row) -> tuple[float, float, float]:
    """True position of the target from the interceptor [m]."""
    return (
        s.target_pos[0] - s.own_pos[0],
        s.target_pos[1] - s.own_pos[1],
        s.target_pos[2] - s.own_pos[2],
    )


@kernel
def estimated_relative(s: Row, p: Row) -> tuple[float, float, float]:
    """Relative position [m] that the interceptor believes now: the track carried forward to this tick.

    With ``omniscient`` set it is the truth.
    """
    if p.omniscient:
        return relative(s)
    ahead = (s.tick - s.track_tick) * p.dt
    return (
        s.track_pos[0] + ahead * s.track_vel[0] - s.own_pos[0],
        s.track_pos[1] + ahead * s.track_vel[1] - s.own_pos[1],
        s.track_pos[2] + ahead * s.track_vel[2] - s.own_pos[2],
    )


def track_position(states: np.ndarray, dt: float) -> np.ndarray:
    """The track carried forward to each state's tick, (..., 3) [m]; as in `estimated_relative`, for arrays (...,)."""
    ahead = (states["tick"] - states["track_tick"]) * dt
    return np.asarray(states["track_pos"] + ahead[..., None] * states["track_vel"])
