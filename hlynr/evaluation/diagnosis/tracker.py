"""Whether the tracker is the Kalman filter it is meant to be, and its covariance describes its error.

Source: Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001), 5.4.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.stats import chi2

from hlynr.config.config import Config
from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.laws import law
from hlynr.evaluation.recording import Recording, Setup, record
from hlynr.records.diagnosis import Finding, ScanFigures
from hlynr.sim.state import MAX_DELAY, RUNNING

NAME = "tracker"
ASSUMED_EPISODES, PN_EPISODES, REPLAYED_EPISODES = 400, 100, 8
ASSUMED_SECONDS = 5.0
WORST = 1e9
"""A NEES is cut to this, also where the covariance is singular."""
SAME_TRACK = 1.0
"""Tracks closer than this [m] are the same; rounding alone is below 1e-6."""


@dataclass(frozen=True)
class _Consistency:
    """A mean of chi-square values of ``freedom`` degrees, with its two-sided 95 % bounds."""

    mean: float
    low: float
    high: float
    freedom: int

    @classmethod
    def of(cls, values: np.ndarray, freedom: int) -> Self:
        count = max(values.size, 1)
        low, high = chi2.ppf([0.025, 0.975], freedom * count) / count
        return cls(float(values.mean()) if values.size else float("nan"), float(low), float(high), freedom)

    @property
    def absurd(self) -> bool:
        """Beyond any mistuning: the covariance has nothing to do with the error. Never without values."""
        return self.mean <= 0.5 * self.freedom or self.mean >= 2.0 * self.freedom

    @property
    def odd(self) -> bool:
        """Twice as far from expectation as the bounds, which 5 % of correct filters leave."""
        return self.mean < 2 * self.low - self.freedom or self.mean > 2 * self.high - self.freedom

    def __str__(self) -> str:
        return f"{self.mean:.2f} (95 % bounds {self.low:.2f} to {self.high:.2f}, expected {self.freedom})"


def check(setup: Setup) -> tuple[Finding, tuple[ScanFigures, ...]]:
    """The finding, and the consistency scan by scan where the target moves as the filter assumes."""
    assumed, delay = _record_as_assumed(setup), setup.config.scenarios[setup.scenario].radar.delay
    nees_by_scan = _nees(assumed, delay)
    pn = _by_scan(setup, PN_EPISODES)
    recording = record(law("pn", pn.config, pn.scenario), pn)
    coasting, updating = _prediction_shares(recording, pn)
    position_error, velocity_error = _errors(recording)
    nis = _Consistency.of(_nis(assumed), 3)
    nees = _Consistency.of(nees_by_scan[-1] if nees_by_scan else np.empty(0), 6)
    figures = {
        "prediction_share_coasting": coasting,
        "prediction_share_updating": updating,
        "filterpy_difference": _difference_from_filterpy(recording, pn),
        **{"nis": nis.mean, "nis_low": nis.low, "nis_high": nis.high},
        **{"nees": nees.mean, "nees_low": nees.low, "nees_high": nees.high},
        "median_position_error": position_error,
        "median_velocity_error": velocity_error,
    }
    return _judge(figures, nis, nees), _curve(assumed, nees_by_scan, delay)


def _judge(figures: dict[str, float], nis: _Consistency, nees: _Consistency) -> Finding:
    coasting, updating = figures["prediction_share_coasting"], figures["prediction_share_updating"]
    difference = figures["filterpy_difference"]
    metres = f"{difference:,.0f}" if difference >= SAME_TRACK else f"{difference:.1g}"
    numbers = (
        f"The track moves {percent(coasting)} of the predicted way between measurements and {percent(updating)} before "
        f"an update. filterpy's KalmanFilter on the same measurements is at most {metres} m away from it. Where the "
        f"target moves as assumed, NIS is {nis} and NEES {nees}. After the first detection the median error is "
        f"{figures['median_position_error']:.0f} m and {figures['median_velocity_error']:.0f} m/s."
    )
    fault = ""
    if coasting < 0.5 or updating < 0.5:  # NaN where there was no scan of that kind
        fault = "The tracker does not predict."
    elif not difference <= SAME_TRACK:
        fault = "The track is not that of a Kalman filter on the same measurements."
    elif nis.absurd or nees.absurd:
        fault = "The tracker's covariance does not describe its error."
    if fault:
        return finding(NAME, "fault", "tracker", f"{fault} {numbers}", **figures)
    if nis.odd or nees.odd:
        text = f"The tracker predicts, but its covariance is mistuned. {numbers}"
        return finding(NAME, "warning", "tracker", text, **figures)
    return finding(NAME, "ok", None, f"The tracker predicts and is consistent. {numbers}", **figures)


def _record_as_assumed(setup: Setup) -> Recording:
    """A target of white acceleration held from scan to scan, as the filter assumes, with a radar that looks everywhere.

    Nothing falls, is caught or is gated, so that all engagements are judged at the same moments. A detection in a
    beam says where the target is, which no Kalman filter uses, so the NEES is exact only without a beam.
    """
    changes = {
        "sim.gravity": 0.0,
        "scenario.capture_radius": 0.001,
        "scenario.radar.half_angle": 180.0,
        "scenario.target.weave": (0.0, 0.0),
        "scenario.target.jink": setup.config.tracker.acceleration_noise,
        "tracker.gate": 1e9,
    }
    assumed = _by_scan(setup, ASSUMED_EPISODES).altered(changes)
    count = round(ASSUMED_SECONDS / _scan_interval(setup.config)) + setup.config.scenarios[setup.scenario].radar.delay
    return record(law("zero", assumed.config, assumed.scenario), assumed, limit=count)


def _nis(recording: Recording) -> np.ndarray:
    """Of every update, (M,)."""
    nis = recording.states["nis"][1:]
    return np.asarray(nis[_scanned(recording) & (nis >= 0.0)])


def _nees(recording: Recording, delay: int) -> list[np.ndarray]:
    """After each scan that most engagements reach, of those that do, (M,). The track is ``delay`` scans behind."""
    track, truth = recording.states[1 + delay :], recording.states[1 : len(recording.states) - delay]
    position, velocity = truth["target_pos"] - track["track_pos"], truth["target_vel"] - track["track_vel"]
    p00, p01, p11 = track["p00"], track["p01"], track["p11"]
    squared = p11 * (position**2).sum(axis=2) + p00 * (velocity**2).sum(axis=2)
    squared -= 2.0 * p01 * (position * velocity).sum(axis=2)
    determinant = p00 * p11 - p01**2
    nees = np.minimum(squared / np.where(determinant > 0.0, determinant, 1.0 / WORST), WORST)
    alive = _scanned(recording)[delay:]
    return [row[here] for row, here in zip(nees, alive, strict=True) if here.mean() > 0.5]


def _curve(recording: Recording, nees: list[np.ndarray], delay: int) -> tuple[ScanFigures, ...]:
    seconds = recording.states["tick"].max(axis=1) * recording.dt
    error = np.linalg.norm(recording.estimate - recording.states["target_pos"], axis=2)
    each = [_Consistency.of(values, 6) for values in nees]
    return tuple(
        ScanFigures(
            seconds=float(seconds[scan]),
            nees=found.mean,
            nees_bounds=(found.low, found.high),
            position_error=float(np.median(error[scan])),
        )
        for scan, found in enumerate(each, start=1 + delay)
    )


def _errors(recording: Recording) -> tuple[float, float]:
    """Median position [m] and velocity [m/s] error after the first detection; NaN without one."""
    states = recording.states[1:]
    where = _scanned(recording) & (states["detections"] > 0)
    if not where.any():
        return float("nan"), float("nan")
    position = np.linalg.norm((recording.estimate[1:] - states["target_pos"])[where], axis=1)
    velocity = np.linalg.norm((states["track_vel"] - states["target_vel"])[where], axis=1)
    return float(np.median(position)), float(np.median(velocity))


def _by_scan(setup: Setup, episodes: int) -> Setup:
    """The same engagements with one timestep per scan and no cue after the one at launch."""
    changes = {"sim.control_interval": setup.config.sim.radar_interval, "scenario.cue.interval": 0}
    return setup.altered(changes, episodes)


def _scan_interval(config: Config) -> float:
    """Between two scans [s]."""
    return config.sim.dt * config.sim.radar_interval


def _scanned(recording: Recording) -> np.ndarray:
    """(T, N) bool: whether the timestep ended with a scan, which it did not if the engagement ended in it."""
    return np.asarray(recording.states["outcome"][1:] == RUNNING)


def _measurements(recording: Recording, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """What reached the tracker at each scan: positions (T, N, 3) [m] and variances (T, N) [m^2], 0 for nothing."""
    states = recording.states[1:]
    delivered = states["tick"] // setup.config.sim.radar_interval - setup.config.scenarios[setup.scenario].radar.delay
    slot = delivered % MAX_DELAY
    position = np.take_along_axis(states["queue_pos"], slot[..., None, None], axis=2)[:, :, 0]
    variance = np.take_along_axis(states["queue_var"], slot[..., None], axis=2)[:, :, 0]
    return position, np.where((delivered >= 1) & _scanned(recording), variance, 0.0)


def _prediction_shares(recording: Recording, setup: Setup) -> tuple[float, float]:
    """How much of the predicted way the track moves, between measurements and before an update; 1 if it predicts.

    An update moves the track from its prediction by ``gain * (measurement - prediction)``, and the gain is the
    variance after the update over the measurement's: what then remains of the move is the prediction's share.
    """
    before, after = recording.states[:-1], recording.states[1:]
    position, variance = _measurements(recording, setup)
    accepted = (variance > 0.0) & (after["detections"] > before["detections"])
    coasting = _scanned(recording) & ~accepted & (after["track_tick"] > before["track_tick"])
    change = after["track_pos"] - before["track_pos"]
    predicted = _scan_interval(setup.config) * before["track_vel"]
    gain = (after["p00"] / np.where(accepted, variance, np.inf))[..., None]
    corrected = change - gain * (position - before["track_pos"])
    return _slope(change, predicted, coasting), _slope(corrected, (1.0 - gain) * predicted, accepted)


def _slope(moved: np.ndarray, predicted: np.ndarray, where: np.ndarray) -> float:
    """Least squares through the origin; NaN without data."""
    total = float((predicted[where] ** 2).sum())
    return float((moved[where] * predicted[where]).sum()) / total if total > 0.0 else float("nan")


def _difference_from_filterpy(recording: Recording, setup: Setup) -> float:
    """Greatest distance [m] of the tracks with the most updates from filterpy's filter on the same measurements."""
    position, variance = _measurements(recording, setup)
    delay = setup.config.scenarios[setup.scenario].radar.delay
    greatest = 0.0
    for row in np.argsort(-recording.final["detections"], kind="stable")[:REPLAYED_EPISODES]:
        track = _filter(recording, setup, row)
        for scan in np.flatnonzero(_scanned(recording)[:, row]):
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

    config, seconds = setup.config, _scan_interval(setup.config)
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
