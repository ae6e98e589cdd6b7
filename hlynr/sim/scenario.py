"""The kernels' parameters from the settings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from hlynr.sim.state import PARAMETERS

if TYPE_CHECKING:
    from hlynr.config.config import Config


def parameters(config: Config, scenario: str, *, omniscient: bool = False) -> np.ndarray:
    """The scenario as one row of `PARAMETERS`, shape (1,).

    Args:
        omniscient: the estimate is the truth; for laws and diagnosis, never for a promoted policy.

    Raises:
        KeyError: if the configuration has no such scenario.
    """
    s, sim, tracker = config.scenarios[scenario], config.sim, config.tracker
    sections = (sim, tracker, s, s.target, s.interceptor, s.radar, s.wind)
    values = {name: value for section in sections for name, value in vars(section).items()}
    values |= {  # those of another unit or name
        "spawn_range": s.spawn.range,
        "spawn_spread": s.spawn.range_spread,
        "elevation_low": math.radians(s.spawn.elevation[0]),
        "elevation_high": math.radians(s.spawn.elevation[1]),
        "aim_spread": s.spawn.aim_spread,
        "speed_low": s.target.speed[0],
        "speed_high": s.target.speed[1],
        "weave_low": s.target.weave[0],
        "weave_high": s.target.weave[1],
        "weave_period_low": s.target.weave_period[0],
        "weave_period_high": s.target.weave_period[1],
        "launch_error": math.radians(s.interceptor.launch_error),
        "launch_elevation_min": math.radians(s.interceptor.launch_elevation_min),
        "lag_blend": -math.expm1(-sim.dt / s.interceptor.actuator_lag),
        "half_angle_cos": math.cos(math.radians(s.radar.half_angle)),
        "radar_dropout": s.radar.dropout,
        "cue_position_error": s.cue.position_error,
        "cue_velocity_error": s.cue.velocity_error,
        "cue_dropout": s.cue.dropout,
        "wind_low": s.wind.speed[0],
        "wind_high": s.wind.speed[1],
        "gust_decay": math.exp(-sim.dt * sim.gust_interval / s.wind.gust_time),
        "acceleration_variance": tracker.acceleration_noise**2,
        "acceleration_blend": -math.expm1(-sim.dt * sim.radar_interval / tracker.acceleration_time),
        "cue_interval": s.cue.interval,
        "dropout_interval": s.dropout_interval,
        "time_limit": round(s.time_limit / sim.dt),
        "omniscient": omniscient,
    }
    return np.array([tuple(values[name] for name in PARAMETERS.names or ())], dtype=PARAMETERS)
