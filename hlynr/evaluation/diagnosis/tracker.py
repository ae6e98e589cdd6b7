"""Whether the tracker is the Kalman filter it is meant to be, and its covariance describes its error.

Source: Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001), 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from hlynr.evaluation.diagnosis import scans
from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.laws import law
from hlynr.evaluation.recording import Recording, Setup, record
from hlynr.records.diagnosis import Finding, ScanFigures

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
    def of(cls, values: np.ndarray, freedom: int) -> _Consistency:
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


@dataclass(frozen=True)
class _Measured:
    """The measurements on which the verdict rests."""

    coasting: float
    updating: float
    filterpy: float
    nis: _Consistency
    nees: _Consistency
    position_error: float
    velocity_error: float

    @property
    def figures(self) -> dict[str, float]:
        return {
            "prediction_share_coasting": self.coasting,
            "prediction_share_updating": self.updating,
            "filterpy_difference": self.filterpy,
            **{"nis": self.nis.mean, "nis_low": self.nis.low, "nis_high": self.nis.high},
            **{"nees": self.nees.mean, "nees_low": self.nees.low, "nees_high": self.nees.high},
            "median_position_error": self.position_error,
            "median_velocity_error": self.velocity_error,
        }

    def __str__(self) -> str:
        apart = f"{self.filterpy:,.0f}" if self.filterpy >= SAME_TRACK else f"{self.filterpy:.1g}"
        return (
            f"The track moves {percent(self.coasting)} of the predicted way between measurements and "
            f"{percent(self.updating)} before an update. filterpy's KalmanFilter on the same measurements "
            f"is at most {apart} m away from it. Where the target moves as assumed, NIS is {self.nis} and NEES "
            f"{self.nees}. After the first detection the median error is {self.position_error:.0f} m and "
            f"{self.velocity_error:.0f} m/s."
        )


def check(setup: Setup) -> tuple[Finding, tuple[ScanFigures, ...]]:
    """The finding, and the consistency scan by scan where the target moves as the filter assumes."""
    assumed, delay = _record_as_assumed(setup), setup.config.scenarios[setup.scenario].radar.delay
    nees = _nees(assumed, delay)
    pn = scans.by_scan(setup, PN_EPISODES)
    recording = record(law("pn", pn.config, pn.scenario), pn)
    coasting, updating = scans.prediction_shares(recording, pn)
    position_error, velocity_error = _errors(recording)
    measured = _Measured(
        coasting=coasting,
        updating=updating,
        filterpy=scans.difference_from_filterpy(recording, pn, _most_detected(recording)),
        nis=_Consistency.of(_nis(assumed), 3),
        nees=_Consistency.of(nees[-1] if nees else np.empty(0), 6),
        position_error=position_error,
        velocity_error=velocity_error,
    )
    return _judge(measured), _curve(assumed, nees, delay)


def _judge(found: _Measured) -> Finding:
    if found.coasting < 0.5 or found.updating < 0.5:  # NaN where there was no scan of that kind
        return finding(NAME, "fault", "tracker", f"The tracker does not predict. {found}", **found.figures)
    if not found.filterpy <= SAME_TRACK:
        text = f"The track is not that of a Kalman filter on the same measurements. {found}"
        return finding(NAME, "fault", "tracker", text, **found.figures)
    if found.nis.absurd or found.nees.absurd:
        text = f"The tracker's covariance does not describe its error. {found}"
        return finding(NAME, "fault", "tracker", text, **found.figures)
    if found.nis.odd or found.nees.odd:
        text = f"The tracker predicts, but its covariance is mistuned. {found}"
        return finding(NAME, "warning", "tracker", text, **found.figures)
    return finding(NAME, "ok", None, f"The tracker predicts and is consistent. {found}", **found.figures)


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
    assumed = scans.by_scan(setup, ASSUMED_EPISODES).altered(changes)
    count = round(ASSUMED_SECONDS / scans.interval(setup.config)) + setup.config.scenarios[setup.scenario].radar.delay
    return record(law("zero", assumed.config, assumed.scenario), assumed, limit=count)


def _nis(recording: Recording) -> np.ndarray:
    """Of every update, (M,)."""
    nis = recording.states["nis"][1:]
    return np.asarray(nis[scans.scanned(recording) & (nis >= 0.0)])


def _nees(recording: Recording, delay: int) -> list[np.ndarray]:
    """After each scan that most engagements live to see, of those that do, (M,). The track is ``delay`` scans behind."""
    track, truth = recording.states[1 + delay :], recording.states[1 : len(recording.states) - delay]
    position, velocity = truth["target_pos"] - track["track_pos"], truth["target_vel"] - track["track_vel"]
    p00, p01, p11 = track["p00"], track["p01"], track["p11"]
    squared = p11 * (position**2).sum(axis=2) + p00 * (velocity**2).sum(axis=2)
    squared -= 2.0 * p01 * (position * velocity).sum(axis=2)
    determinant = p00 * p11 - p01**2
    nees = np.minimum(squared / np.where(determinant > 0.0, determinant, 1.0 / WORST), WORST)
    alive = scans.scanned(recording)[delay:]
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


def _most_detected(recording: Recording) -> np.ndarray:
    """The engagements with the most updates."""
    return np.argsort(-recording.final["detections"], kind="stable")[:REPLAYED_EPISODES]


def _errors(recording: Recording) -> tuple[float, float]:
    """Median position [m] and velocity [m/s] error after the first detection; NaN without one."""
    states = recording.states[1:]
    where = scans.scanned(recording) & (states["detections"] > 0)
    if not where.any():
        return float("nan"), float("nan")
    position = np.linalg.norm((recording.estimate[1:] - states["target_pos"])[where], axis=1)
    velocity = np.linalg.norm((states["track_vel"] - states["target_vel"])[where], axis=1)
    return float(np.median(position)), float(np.median(velocity))
