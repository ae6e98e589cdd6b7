"""What the stability study writes down: its runs, their points, and what each strategy comes to."""

from __future__ import annotations

from typing import Literal

from hlynr.records.base import Record
from hlynr.records.training import Alarm


class StabilityPoint(Record):
    """One evaluation of a training of the study; see `EvaluationPoint`."""

    timesteps: int
    success_rate: float
    mean_reward: float
    std: float | None
    action_saturation: float | None


class StabilityRun(Record):
    """One training of the stability study, watched to its end, and its best bundle on the held-out engagements."""

    strategy: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    scenario: str
    capture_radius: float
    seed: int
    digest: str
    """Of all that the course of the training depends on."""
    lineage_id: str
    git_commit: str | None
    """With which it was trained."""
    git_dirty: bool | None
    budget: int
    timesteps: int
    seconds: float
    timesteps_per_second: float
    final_success: float
    peak_success: float
    peak_timesteps: int
    window: int
    """Evaluations averaged in the two that follow; they are None where there were fewer."""
    final_window_success: float | None
    peak_window_success: float | None
    final_over_peak: float | None
    """Ratio of the two; None where the peak is zero, too."""
    collapsed: bool
    """Whether the monitor saw a collapse at any time, not at the end alone."""
    alerts: dict[Alarm, int]
    """At how many timesteps the monitor first saw what it saw."""
    stop_on: tuple[Alarm, ...]
    """What ends a training of this strategy outside the study."""
    stopped_at: int | None
    """At how many timesteps that would have been; None for never."""
    best_timesteps: int
    best_success: float
    bundle_sha256: str
    heldout_seed: int
    heldout_episodes: int
    heldout_success_rate: float
    heldout_success_rate_ci: tuple[float, float]
    """Wilson interval at ``confidence``."""
    confidence: float
    heldout_mean_reward: float
    heldout_mean_final_distance: float
    points: tuple[StabilityPoint, ...]

    @property
    def name(self) -> str:
        """What the run and its folder are called."""
        return f"{self.strategy}-{self.seed}"


class StabilityGroup(Record):
    """All runs of one strategy of the study."""

    strategy: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    runs: int
    collapsed: int
    timesteps: int
    """Of the longest run."""
    mean_final_over_peak: float | None
    min_final_over_peak: float | None
    mean_heldout_success_rate: float
    min_heldout_success_rate: float
    alerts: dict[Alarm, int]
    """In how many runs the monitor saw what it saw."""


class Stretch(Record):
    """One row of a table of success by training time."""

    ticks: tuple[int, int]
    success_rate: tuple[float, float]


class StabilityDocument(Record):
    """The training this project started from, as its analysis tells it."""

    ticks_per_timestep: int
    success: tuple[Stretch, ...]
    final_success_rate: float
    inference_success_rate: float
    """Of the best checkpoint, judged after the training."""


class StabilityRecord(Record):
    """The stability study."""

    command: str
    created: str
    """UTC, ISO 8601."""
    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    capture_radius: dict[str, float]
    """By scenario, as declared [m]."""
    heldout_episodes: int
    strategies: tuple[StabilityGroup, ...]
    runs: tuple[StabilityRun, ...]
    missing: dict[str, str]
    """By run, why it has come to no end."""
    document: StabilityDocument
