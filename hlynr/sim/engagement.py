"""Advancing engagements by one timestep, and deciding how they end.

The state of N engagements is one structured array of N rows, so ``state["target_pos"]`` is a view of shape
(N, 3). The kernels are serial: one core steps one batch, and processes share nothing.

Time: a tick is one physics step of ``dt`` [s]; a timestep is ``control_interval`` ticks with one command.
Coordinates are east, north, up [m]; the defended point is the origin; relative means target minus interceptor.
"""

import math

import numpy as np

from hlynr.sim import rng
from hlynr.sim.dynamics import drag_acceleration, gust_step, lagged, weave_acceleration
from hlynr.sim.geometry import into_frame, line_of_sight_frame, norm, out_of_frame, segment_distance_squared
from hlynr.sim.jit import inlined, kernel
from hlynr.sim.sensing import draw_jink, scan
from hlynr.sim.state import GROUND, INTERCEPT, RUNNING, TARGET_IMPACT, TIMEOUT, Row, estimated_relative, relative


@kernel
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


@inlined
def _usable(component: float) -> float:
    """0 for what is no number; bounded so that squares stay finite."""
    return min(max(component, -1e150), 1e150) if component == component else 0.0


@kernel
def _command(s: Row, p: Row, u: float, v: float, w: float) -> tuple[float, float, float]:
    u, v, w = _usable(u), _usable(v), _usable(w)
    length = norm(u, v, w)
    scale = p.max_acceleration / max(length, 1.0)
    x, y, z = estimated_relative(s, p)
    return out_of_frame(line_of_sight_frame(x, y, z), scale * u, scale * v, scale * w)


@kernel
def into_line_of_sight(state: np.ndarray, command: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Inertial vectors (N, 3) in the frames in which `advance` reads actions, (N, 3)."""
    out = np.empty_like(command)
    for i in range(state.shape[0]):
        x, y, z = estimated_relative(state[i], params[0])
        out[i, 0], out[i, 1], out[i, 2] = into_frame(
            line_of_sight_frame(x, y, z), command[i, 0], command[i, 1], command[i, 2]
        )
    return out


@inlined
def _tick(s: Row, p: Row, cx: float, cy: float, cz: float) -> None:
    rx, ry, rz = relative(s)
    _move_target(s, p)
    _move_interceptor(s, p, cx, cy, cz)
    s.tick += 1
    if s.tick % p.gust_interval == 0:
        _gust(s, p)
    if s.tick % p.radar_interval == 0:
        if p.jink > 0.0:
            draw_jink(s, p, s.tick)
        scan(s, p)
    _judge(s, p, rx, ry, rz)


@inlined
def _move_target(s: Row, p: Row) -> None:
    """Constant mean velocity plus weave plus jink; the acceleration of a tick is that at its middle."""
    swing = weave_acceleration(s.weave_amplitude, s.weave_rate, s.weave_phase, (s.tick + 0.5) * p.dt)
    for i in range(3):
        a = swing * s.weave_axis[i] + s.jink[i]
        s.target_pos[i] += p.dt * (s.target_vel[i] + 0.5 * p.dt * a)
        s.target_vel[i] += p.dt * a
        s.target_acc[i] = a


@inlined
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


@kernel
def _gust(s: Row, p: Row) -> None:
    noise = rng.normal_triple(s.key, s.tick + rng.GUST_TICK_OFFSET, rng.GUST)
    for i in range(3):
        s.gust[i] = gust_step(s.gust[i], p.gust_decay, p.gust, noise[i])


@inlined
def _judge(s: Row, p: Row, x: float, y: float, z: float) -> None:
    """Closest approach within the tick, and the outcome: the one place where success is decided.

    Inside the capture radius an engagement goes on until the range opens, so that the miss distance is the
    closest approach and not the moment of entry. Whatever ends it, an engagement whose minimum distance is
    within the capture radius is an intercept.
    """
    nx, ny, nz = relative(s)
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
