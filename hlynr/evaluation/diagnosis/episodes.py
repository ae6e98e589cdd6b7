"""The cause of each sampled episode's outcome."""

from collections import Counter

import numpy as np

from hlynr.evaluation.diagnosis.findings import finding
from hlynr.evaluation.recording import Recording, Setup
from hlynr.records.diagnosis import Cause, Finding, SampledEpisode
from hlynr.sim.state import INTERCEPT, OUTCOMES, TIMEOUT

NAME = "episodes"
LATE = 2.0
"""[s]; a first detection after this halved success in the first trainings."""
LOST = 0.25
"""Share of measurements rejected by the gate from which on a track counts as lost."""
NEAR = 2.0
"""Capture radii."""

CAUSES = (
    "intercept", "never detected", "track lost", "detected late", "fuel spent", "time-out", "near miss", "out-turned",
)  # fmt: skip
"""In the order in which they are looked for: what happened first explains the rest."""


BLAMED: dict[str, Cause] = {"never detected": "observation", "track lost": "tracker"}


def sample(recording: Recording, setup: Setup) -> tuple[SampledEpisode, ...]:
    """Every episode of a recording with its cause."""
    return tuple(_sampled(recording, setup, row) for row in range(setup.episodes))


def check(sampled: tuple[SampledEpisode, ...]) -> Finding:
    """How often each cause occurred; one that spoils more than half of all episodes is a warning."""
    counts = Counter(episode.cause for episode in sampled)
    total = len(sampled)
    listed = ", ".join(f"{cause} {counts[cause]}" for cause in CAUSES if counts[cause])
    figures = {cause: float(counts[cause]) for cause in CAUSES}
    failures = {cause: counts[cause] for cause in CAUSES[1:]}
    worst = max(failures, key=lambda cause: failures[cause])
    if failures[worst] > 0.5 * total:
        text = f"Most of the {total} episodes end for one reason, {worst}: {listed}."
        return finding(NAME, "warning", BLAMED.get(worst, "policy"), text, **figures)
    return finding(NAME, "ok", None, f"Of {total} episodes: {listed}.", **figures)


def _sampled(recording: Recording, setup: Setup, row: int) -> SampledEpisode:
    final, dt = recording.final[row], recording.dt
    first = final["first_detection_tick"]
    return SampledEpisode(
        episode=row,
        outcome=OUTCOMES[final["outcome"]],
        cause=_cause(recording, setup, row),
        miss_distance=float(final["min_distance"]),
        seconds=float(final["tick"] * dt),
        reward=float(recording.reward[row]),
        fuel_left=float(final["fuel"]),
        first_detection=float(first * dt) if first >= 0 else None,
        detections=int(final["detections"]),
        rejections=int(final["rejections"]),
    )


def _cause(recording: Recording, setup: Setup, row: int) -> str:
    final = recording.final[row]
    closest = int(np.argmin(recording.distance[:, row]))
    measured = final["detections"] + final["rejections"]
    holds = {
        "intercept": final["outcome"] == INTERCEPT,
        "never detected": final["first_detection_tick"] < 0 and not final["rejections"],
        "track lost": final["rejections"] > LOST * measured,
        "detected late": final["first_detection_tick"] * recording.dt > LATE,
        "fuel spent": recording.states["fuel"][closest, row] <= 0.0,
        "time-out": final["outcome"] == TIMEOUT,
        "near miss": final["min_distance"] <= NEAR * setup.config.scenarios[setup.scenario].capture_radius,
        "out-turned": True,
    }
    return next(cause for cause in CAUSES if holds[cause])
