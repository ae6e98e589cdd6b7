"""The records of a diagnosis."""

from typing import Literal

from hlynr.records.base import Record

Cause = Literal["tracker", "frame", "task", "reward", "observation", "policy"]
"""Where a fault can be, the most upstream first: it affects everything after it."""

FindingStatus = Literal["ok", "warning", "fault", "skipped"]
"""A fault is a reason for a policy to fail, a warning is none by itself; a skipped check does not apply."""


class Finding(Record):
    """What one check of a diagnosis found, in a sentence and in numbers."""

    check: str
    status: FindingStatus
    cause: Cause | None
    finding: str
    figures: dict[str, float]
    """Finite ones only; without what could not be measured."""


class SampledEpisode(Record):
    """One episode of a diagnosis and why it ended as it did."""

    episode: int
    outcome: str
    cause: str
    miss_distance: float
    seconds: float
    reward: float
    fuel_left: float
    first_detection: float | None
    """[s]"""
    detections: int
    rejections: int
    """Measurements that the tracker's gate rejected."""


class ChannelFigures(Record):
    """One channel of the observations, in scaled units."""

    channel: str
    mean: float
    std: float
    min: float
    max: float
    clipped: float
    """Share of the values at the limit."""


class ScanFigures(Record):
    """The tracker's consistency after one radar scan where the target moves as it assumes."""

    seconds: float
    nees: float
    nees_bounds: tuple[float, float]
    """Of the mean over the engagements, two-sided 95 %."""
    position_error: float
    """Median [m]."""


class Diagnosis(Record):
    """One finding per check, and the most upstream fault among them; the interval is Wilson's."""

    subject: str
    scenario: str
    seed: int
    episodes: int
    success_rate: float
    success_rate_ci: tuple[float, float]
    verdict: str
    cause: Cause | None
    findings: tuple[Finding, ...]
    sampled: tuple[SampledEpisode, ...]
    channels: tuple[ChannelFigures, ...]
    scans: tuple[ScanFigures, ...]

    def finding(self, check: str) -> Finding:
        """The finding of one check. Raises StopIteration if there is none of that name."""
        return next(finding for finding in self.findings if finding.check == check)
