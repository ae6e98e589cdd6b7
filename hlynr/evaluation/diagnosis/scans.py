"""Recordings with one timestep per scan: the measurements, how the track moves, and filterpy's track beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hlynr.evaluation.recording import Recording, Setup
from hlynr.sim.state import MAX_DELAY, RUNNING

if TYPE_CHECKING:
    from hlynr.config.config import Config


def by_scan(setup: Setup, episodes: int) -> Setup:
    """The same engagements with one timestep per scan and no cue after the one at launch."""
    changes = {"sim.control_interval": setup.config.sim.radar_interval, "scenario.cue.interval": 0}
    return setup.altered(changes, episodes)


def interval(config: Config) -> float:
    """Between two scans [s]."""
    return config.sim.dt * config.sim.radar_interval


def scanned(recording: Recording) -> np.ndarray:
    """(T, N) bool: whether the timestep ended with a scan, which it did not if the engagement ended in it."""
    return np.asarray(recording.states["outcome"][1:] == RUNNING)


def measurements(recording: Recording, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """What reached the tracker at each scan: positions (T, N, 3) [m] and variances (T, N) [m^2], 0 for nothing."""
    states = recording.states[1:]
    delivered = states["tick"] // setup.config.sim.radar_interval - setup.config.scenarios[setup.scenario].radar.delay
    slot = delivered % MAX_DELAY
    position = np.take_along_axis(states["queue_pos"], slot[..., None, None], axis=2)[:, :, 0]
    variance = np.take_along_axis(states["queue_var"], slot[..., None], axis=2)[:, :, 0]
    return position, np.where((delivered >= 1) & scanned(recording), variance, 0.0)


def prediction_shares(recording: Recording, setup: Setup) -> tuple[float, float]:
    """How much of the predicted way the track moves, between measurements and before an update; 1 if it predicts.

    An update moves the track from its prediction by ``gain * (measurement - prediction)``, and the gain is the
    variance after the update over the measurement's: what then remains of the move is the prediction's share.
    """
    before, after = recording.states[:-1], recording.states[1:]
    position, variance = measurements(recording, setup)
    accepted = (variance > 0.0) & (after["detections"] > before["detections"])
    coasting = scanned(recording) & ~accepted & (after["track_tick"] > before["track_tick"])
    change = after["track_pos"] - before["track_pos"]
    predicted = interval(setup.config) * before["track_vel"]
    gain = (after["p00"] / np.where(accepted, variance, np.inf))[..., None]
    corrected = change - gain * (position - before["track_pos"])
    return _slope(change, predicted, coasting), _slope(corrected, (1.0 - gain) * predicted, accepted)


def _slope(moved: np.ndarray, predicted: np.ndarray, where: np.ndarray) -> float:
    """Least squares through the origin; NaN without data."""
    total = float((predicted[where] ** 2).sum())
    return float((moved[where] * predicted[where]).sum()) / total if total > 0.0 else float("nan")


def difference_from_filterpy(recording: Recording, setup: Setup, rows: np.ndarray) -> float:
    """Greatest distance [m] of the tracks of ``rows`` (M,) from filterpy's KalmanFilter on the same measurements."""
    position, variance = measurements(recording, setup)
    delay = setup.config.scenarios[setup.scenario].radar.delay
    greatest = 0.0
    for row in rows:
        track = _filter(recording, setup, row)
        for scan in np.flatnonzero(scanned(recording)[:, row]):
            if scan < delay:
                continue  # scans are counted from 1: the first delivery comes with scan delay + 1
            track.predict()
            _update(track, position[scan, row], float(variance[scan, row]), setup.config.tracker.gate)
            apart = recording.states["track_pos"][scan + 1, row] - track.x[:3, 0]
            greatest = max(greatest, float(np.linalg.norm(apart)))
    return greatest


def _filter(recording: Recording, setup: Setup, row: int) -> Any:
    """A constant-velocity filter, state (x, y, z, vx, vy, vz), that starts from the launch cue."""
    from filterpy.common import Q_discrete_white_noise
    from filterpy.kalman import KalmanFilter

    config, seconds = setup.config, interval(setup.config)
    start, cue = recording.states[0, row], config.scenarios[setup.scenario].cue
    track = KalmanFilter(dim_x=6, dim_z=3)
    track.x = np.concatenate([start["track_pos"], start["track_vel"]])[:, None]
    track.P = np.diag([cue.position_error**2] * 3 + [cue.velocity_error**2] * 3)
    track.F = np.kron([[1.0, seconds], [0.0, 1.0]], np.eye(3))
    track.H = np.eye(3, 6)
    noise = config.tracker.acceleration_noise**2
    track.Q = Q_discrete_white_noise(2, seconds, noise, block_size=3, order_by_dim=False)
    return track


def _update(track: Any, position: np.ndarray, variance: float, gate: float) -> None:
    """Update unless nothing was measured or the gate rejects it."""
    if variance <= 0.0:
        return
    noise = variance * np.eye(3)
    innovation = position[:, None] - track.H @ track.x
    covariance = track.H @ track.P @ track.H.T + noise
    if float((innovation.T @ np.linalg.solve(covariance, innovation)).item()) <= gate:
        track.update(position[:, None], R=noise)
