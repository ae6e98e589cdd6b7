"""How well a tracker's covariance describes its error: NIS and NEES over a batch of engagements.

Source: Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation" (2001), 5.4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from support.arena import Arena


@dataclass(frozen=True)
class Consistency:
    """Per scan, over the engagements still running: sums of NIS and NEES and how many went in, each (S,)."""

    nis: np.ndarray
    detections: np.ndarray
    nees: np.ndarray
    engagements: np.ndarray

    @property
    def mean_nis(self) -> float:
        """Over all scans; innovations of a consistent filter are independent from scan to scan. Expected: 3."""
        return float(self.nis.sum() / self.detections.sum())

    @property
    def nis_bounds(self) -> tuple[float, float]:
        return mean_bounds(3, int(self.detections.sum()))

    def mean_nees(self, scan: int) -> float:
        """After one scan (the first is 1), since errors of one engagement are correlated in time. Expected: 6."""
        return float(self.nees[scan - 1] / self.engagements[scan - 1])

    def nees_bounds(self, scan: int) -> tuple[float, float]:
        return mean_bounds(6, int(self.engagements[scan - 1]))


def mean_bounds(freedom: int, count: int, probability: float = 0.95) -> tuple[float, float]:
    """Where the mean of ``count`` chi-square values of ``freedom`` degrees lies with ``probability``, two-sided."""
    low, high = chi2.ppf([(1 - probability) / 2, (1 + probability) / 2], freedom * count) / count
    return float(low), float(high)


def nees(state: np.ndarray) -> np.ndarray:
    """Squared error of each track (N,) in units of its covariance, where the track stands at the present tick."""
    error = np.stack([state["target_pos"] - state["track_pos"], state["target_vel"] - state["track_vel"]], axis=-1)
    block = np.array([[state["p00"], state["p01"]], [state["p01"], state["p11"]]]).transpose(2, 0, 1)
    return np.asarray(np.einsum("nai,nij,naj->n", error, np.linalg.inv(block), error))


def measure(arena: Arena, scans: int, law: Callable[[Arena], np.ndarray]) -> Consistency:
    """Run ``scans`` scans; the arena must have one timestep per scan and no delay, else the errors mix two times."""
    rows = []
    for _ in range(scans):
        arena.advance(law(arena))
        state = arena.state[arena.running]
        updated = state["nis"][state["nis"] >= 0]
        rows.append((updated.sum(), len(updated), nees(state).sum(), len(state)))
    return Consistency(*np.array(rows).T)
