"""What the use cases hand to each other: frozen records, JSON both ways.

Only these and paths cross the borders between tasks, stages and processes, never models or arrays.
Rates are fractions in [0, 1], distances in metres, times in seconds unless a name says otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Frozen; unknown keys are refused so that a record of another version is not read in part."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def write(self, path: Path) -> Path:
        """Write as JSON, atomically, with the folders above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.model_dump_json(indent=2) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it holds no such record.
        """
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


class Lineage(Record):
    """One id that ties together everything one retraining left behind."""

    id: str
    created: str
    """UTC, ISO 8601."""
    night: int
    strategy: str = "default"
    attempt: int = 1
    """Which try of the night's plan this is."""
    reason: str | None = None
    """Why the plan made it."""
    params_digest: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    flow_run_id: str | None = None
    mlflow_run_id: str | None = None
    mlflow_night_id: str | None = None
    """The run above those of the night's attempts; None for a training that is no part of a night."""
    dvc_experiment: str | None = None
    dvc_revision: str | None = None
    bundle_sha256: str | None = None

    @property
    def night_id(self) -> str:
        """The id of the night's first attempt; the others add their number to it."""
        return self.id.removesuffix(f"-{self.attempt}") if self.attempt > 1 else self.id

    def tags(self) -> dict[str, str]:
        """Flat ``hlynr.*`` names for MLflow; what is not known yet is left out."""
        fields = self.model_dump(exclude_none=True)
        texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in fields.items()}
        return {f"hlynr.lineage.{key}": text for key, text in texts.items()}


class EvaluationPoint(Record):
    """One evaluation during training, on the selection seeds at the declared difficulty."""

    timesteps: int
    episodes: int
    success_rate: float
    mean_reward: float
    mean_final_distance: float
    training_radius: float | None = None
    """Capture radius [m] of the training's own engagements at that time."""
    std: float | None = None
    """Mean over the actions of the policy's standard deviation."""
    action_saturation: float | None = None
    """Share of the newest rollout's action components outside the box."""
    value_loss: float | None = None
    approx_kl: float | None = None
    explained_variance: float | None = None
    """Of the newest update, like the two before; None where there has been none."""

    def signs(self) -> dict[str, float]:
        """What is known about the training itself, by the names of the fields."""
        known = {name: getattr(self, name) for name in SIGNS}
        return {name: value for name, value in known.items() if value is not None}


SIGNS = ("training_radius", "std", "action_saturation", "value_loss", "approx_kl", "explained_variance")
"""The fields of an `EvaluationPoint` that come from the training, not from the evaluation; most foretell its course."""


Alarm = Literal[
    "nan", "exploding_loss", "abort", "collapse", "reward_farming", "runaway_std", "action_saturation", "plateau"
]
FATAL: frozenset[str] = frozenset({"nan", "exploding_loss", "abort", "collapse"})
"""Alarms after which a training counts as failed, though its best bundle is kept."""


class Alert(Record):
    """One condition that holds, in words."""

    kind: Alarm
    reason: str


class MonitorVerdict(Record):
    """What the monitor made of a training."""

    status: Alarm | Literal["healthy"]
    """The gravest alert."""
    reason: str
    stopped: bool
    """Whether an alert ended the training before its budget."""
    alerts: tuple[Alert, ...] = ()
    """All that hold, the gravest first."""
    at_timesteps: int
    peak_success: float
    peak_timesteps: int
    final_success: float

    @property
    def failed(self) -> bool:
        """Whether the training counts as failed."""
        return self.status in FATAL


class TrainResult(Record):
    """One training, finished."""

    lineage: Lineage
    strategy: str = "default"
    algorithm: Literal["ppo", "recurrent_ppo"]
    scenario: str
    seed: int
    device: str
    timesteps: int
    budget: int
    interrupted: bool
    resumed_from: int | None
    """Timesteps of the checkpoint the training went on from, if it did."""
    seconds: float
    timesteps_per_second: float
    best_timesteps: int
    best_success: float
    verdict: MonitorVerdict
    bundle: str
    """Folder of the best bundle, relative to the project."""
    bundle_sha256: str
    evaluations: tuple[EvaluationPoint, ...]


class Slice(Record):
    """Success within one part of a quantity's range."""

    low: float
    high: float
    episodes: int
    success_rate: float
    success_rate_ci: tuple[float, float]


class PolicyReport(Record):
    """One policy on one seed set. Means are over all engagements unless said otherwise."""

    policy: str
    scenario: str
    seed: int
    episodes: int
    capture_radius: float
    success_rate: float
    success_rate_ci: tuple[float, float]
    """Wilson interval at the configured confidence."""
    mean_reward: float
    mean_final_distance: float
    miss_distance_quantiles: dict[str, float]
    """By percentile, "5" to "95"."""
    outcomes: dict[str, int]
    mean_fuel_left: float
    mean_time_to_intercept: float | None
    """Over intercepts; None if there was none."""
    mean_episode_seconds: float
    reward_terms: dict[str, float]
    """Mean contribution of each reward term to the episode's reward."""
    slices: dict[str, tuple[Slice, ...]]
    """By range [m], azimuth [deg], elevation [deg], target_speed [m/s]."""


class Judgement(PolicyReport):
    """A policy with the reference laws on the same engagements."""

    baselines: dict[str, PolicyReport]


class TargetRow(Record):
    """One row of the 100-episode report: a figure beside its target."""

    metric: str
    value: float
    target: str
    met: bool


class EvaluationReport(Record):
    """A policy judged on the report and held-out seed sets, beside baselines on the same engagements."""

    lineage: Lineage
    bundle_sha256: str
    report: PolicyReport
    heldout: PolicyReport
    baselines: dict[str, PolicyReport]
    """Random, pursuit and PN on the held-out engagements."""
    targets: tuple[TargetRow, ...]


class PairedComparison(Record):
    """Challenger and champion on the same held-out engagements."""

    champion_version: int
    champion_success: float
    challenger_success: float
    challenger_only: int
    """Engagements that only the challenger won."""
    champion_only: int
    p_value: float
    """Exact one-sided McNemar: how likely so many are under equal policies."""


class GateRule(Record):
    """One named condition with what was found, what was demanded and the verdict."""

    name: str
    value: str
    bound: str
    passed: bool


class GateDecision(Record):
    """Whether the challenger becomes champion, and why."""

    promote: bool
    rules: tuple[GateRule, ...]
    comparison: PairedComparison | None
    reason: str


class VersionRecord(Record):
    """One saved DVC experiment."""

    experiment: str
    revision: str
    pushed: bool
    verified: bool
    """Read back from the remote and found to hold the same bundle."""


class Promotion(Record):
    """One entry of the registry's history."""

    when: str
    """UTC, ISO 8601."""
    action: Literal["promoted", "refused", "rolled_back"]
    version: int
    champion_before: int | None
    champion_after: int | None
    reason: str
    lineage_id: str
    mlflow_run_id: str | None
    success_rate: float | None
    """On the held-out engagements."""
    success_rate_ci: tuple[float, float] | None


class Attempt(Record):
    """One training of a night's plan, and what came of it."""

    lineage: Lineage
    status: str
    """The monitor's verdict; ``failed`` where there was no policy to judge."""
    outcome: str
    """Status and reason in words."""
    failed: bool
    """Whether the plan goes on to the next strategy."""
    best_success: float | None
    """On the selection seeds; None where the training ended before it had made a usable policy."""
    bundle: str | None
    """Folder of the best bundle, relative to the project; a failed attempt's is kept aside."""


class RetrainRecord(Record):
    """One night, from configuration to decision."""

    lineage: Lineage
    attempts: tuple[Attempt, ...] = ()
    """Of the plan; all but the last one have failed, the last one is ``train``."""
    train: TrainResult
    evaluation: EvaluationReport
    decision: GateDecision
    promotion: Promotion
    version: VersionRecord | None
    seconds: dict[str, float]
    """Wall time by step."""


class Check(Record):
    """One line of the doctor's checklist."""

    name: str
    ok: bool
    required: bool
    detail: str


Cause = Literal["tracker", "frame", "task", "reward", "observation", "policy"]
"""Where a fault can lie, most upstream first: what is wrong there spoils everything after it."""


class Finding(Record):
    """What one check of a diagnosis found, in a sentence and in numbers."""

    check: str
    status: Literal["ok", "warning", "fault", "skipped"]
    cause: Cause | None
    """Where the fault or the warning lies; None if all is well."""
    finding: str
    figures: dict[str, float]
    """Finite ones only; what could not be measured is left out."""


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
    """[s]; None if there was none."""
    detections: int
    rejections: int
    """Measurements that the tracker's gate refused."""


class ChannelFigures(Record):
    """One channel of the observation as the policy met it, in scaled units."""

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
    """One finding per check, and the most upstream fault among them."""

    subject: str
    scenario: str
    seed: int
    episodes: int
    success_rate: float
    success_rate_ci: tuple[float, float]
    """Wilson interval at the configured confidence."""
    verdict: str
    cause: Cause | None
    """None where there is no fault."""
    findings: tuple[Finding, ...]
    sampled: tuple[SampledEpisode, ...]
    channels: tuple[ChannelFigures, ...]
    scans: tuple[ScanFigures, ...]

    def finding(self, check: str) -> Finding:
        """The finding of one check. Raises StopIteration if there is none of that name."""
        return next(finding for finding in self.findings if finding.check == check)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old one or the whole new one, and a full disk leaves no part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def as_json(value: Any) -> Any:
    """A record, or a list or mapping of records, as plain JSON data."""
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return value
