"""The record of a stability study: its runs, their evaluations, and figures by strategy."""

from typing import Literal

from hlynr.records.base import Record, StoredRecord
from hlynr.records.training import AlertKind


class StabilityPoint(StoredRecord):
    """One evaluation of a run; see `EvaluationPoint`."""

    timesteps: int
    success_rate: float
    mean_reward: float
    std: float | None
    action_saturation: float | None


class StabilityRun(Record):
    """One run of a stability study or of a confirmation, and its best bundle on the held-out engagements."""

    strategy: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    scenario: str
    capture_radius: float
    seed: int
    digest: str
    """Of the configuration that the training depends on."""
    lineage_id: str
    git_commit: str | None
    """At the training."""
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
    """Whether the monitor raised a collapse at any time, not only at the end."""
    alerts: dict[AlertKind, int]
    """Timesteps at which the monitor first raised each alert."""
    stop_on: tuple[AlertKind, ...]
    """Alerts that end a training of this strategy outside the study."""
    stopped_at: int | None
    """Timesteps at which one of them was first raised; None for never."""
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
    alerts: dict[AlertKind, int]
    """Number of runs with each alert."""


class Stretch(Record):
    """One row of a table of success by training time."""

    ticks: tuple[int, int]
    success_rate: tuple[float, float]


class StabilityDocument(Record):
    """Figures of the training analysis that this project started from."""

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
    """By run, why it has no record."""
    document: StabilityDocument
