"""The records of a training: lineage, progress, evaluations, the monitor's verdict, the result."""

from typing import Literal, Self, get_args

from pydantic import AliasChoices, AwareDatetime, Field

from hlynr.records.base import Record


class Lineage(Record):
    """One id for everything that belongs to a retraining: runs, commit, parameters, experiment, bundle."""

    id: str
    created: str
    """UTC, ISO 8601."""
    retraining: int = Field(validation_alias=AliasChoices("retraining", "night"))
    """Its number; records of earlier versions call it night."""
    strategy: str = "default"
    attempt: int = 1
    reason: str | None = None
    params_digest: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    flow_run_id: str | None = None
    mlflow_run_id: str | None = None
    mlflow_parent_run_id: str | None = Field(
        default=None, validation_alias=AliasChoices("mlflow_parent_run_id", "mlflow_night_id")
    )
    """The parent run of the retraining's attempts; None for a training outside a retraining."""
    dvc_experiment: str | None = None
    dvc_revision: str | None = None
    bundle_sha256: str | None = None

    @property
    def retraining_id(self) -> str:
        """The id of the retraining's first attempt; the others add their number to it."""
        return self.id.removesuffix(f"-{self.attempt}") if self.attempt > 1 else self.id

    def tags(self) -> dict[str, str]:
        """Flat ``hlynr.*`` names for MLflow; without what is not known yet."""
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
        return self.model_dump(include=set(SIGNS), exclude_none=True)


SIGNS = ("training_radius", "std", "action_saturation", "value_loss", "approx_kl", "explained_variance")
"""The fields of an `EvaluationPoint` that come from the training, not from the evaluation; most foretell its course."""

FatalAlert = Literal["nan", "exploding_loss", "abort", "collapse"]
"""The alerts that fail a training, though its best bundle is kept; the gate promotes after none of them."""
WarningAlert = Literal["reward_farming", "runaway_std", "action_saturation", "plateau"]
"""The others: the held-out engagements decide what such a policy is worth."""
AlertKind = Literal[FatalAlert, WarningAlert]
"""The gravest first."""
FATAL: tuple[FatalAlert, ...] = get_args(FatalAlert)


class MonitorAlert(Record):
    """One condition that holds, in words."""

    kind: AlertKind
    reason: str


class MonitorVerdict(Record):
    """What the monitor made of a training."""

    status: AlertKind | Literal["healthy"]
    reason: str
    stopped: bool
    alerts: tuple[MonitorAlert, ...] = ()
    """All that hold, the gravest first."""
    at_timesteps: int
    peak_success: float
    peak_timesteps: int
    final_success: float

    @property
    def failed(self) -> bool:
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
    """Timesteps of that checkpoint."""
    seconds: float
    timesteps_per_second: float
    best_timesteps: int
    best_success: float
    verdict: MonitorVerdict
    bundle: str
    """Folder of the best bundle, relative to the project."""
    bundle_sha256: str
    evaluations: tuple[EvaluationPoint, ...]


class TrainProgress(Record):
    """The progress of a training; rates are fractions, None before the first evaluation."""

    device: str
    """What ``train.device`` was resolved to."""
    timesteps: int
    budget: int
    success_rate: float | None
    best_success: float | None
    mean_reward: float | None
    timesteps_per_second: float
    eta_seconds: float

    @classmethod
    def at_end(cls, result: TrainResult) -> Self:
        """Of a training that has ended."""
        return cls(
            device=result.device,
            timesteps=result.timesteps,
            budget=result.budget,
            success_rate=result.verdict.final_success,
            best_success=result.best_success,
            mean_reward=result.evaluations[-1].mean_reward if result.evaluations else None,
            timesteps_per_second=result.timesteps_per_second,
            eta_seconds=0.0,
        )

    def line(self) -> str:
        """One line for a log."""
        success, best = percent(self.success_rate), percent(self.best_success)
        return (
            f"{self.timesteps:>10,} / {self.budget:,} timesteps  success {success:>6}  best {best:>6}  "
            f"{self.timesteps_per_second:,.0f} timesteps/s on {self.device}  ETA {clock(self.eta_seconds)}"
        )


TrainingState = Literal["running", "interrupted", "finished", "failed", "lost"]
"""The file of a killed process still says ``running``; a reader that finds no process shows ``lost``."""

STATUS = "status.json"
"""Name of the `TrainingStatus` in a training's folder."""


class TrainingStatus(Record):
    """The present status of a training, written into its folder for other processes."""

    lineage: Lineage
    strategy: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    scenario: str
    seed: int
    state: TrainingState
    process: int | None = None
    """Its id on the machine that trains."""
    machine: str | None = None
    updated: AwareDatetime
    seconds: float
    """Wall time, including what came before a resume."""
    progress: TrainProgress
    window: int
    """Evaluations that the monitor averages."""
    verdict: MonitorVerdict
    evaluations: tuple[EvaluationPoint, ...]


def percent(rate: float | None) -> str:
    """``12.3%``; ``-`` when unknown."""
    return "-" if rate is None else f"{rate:.1%}"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes; ``-`` when unknown."""
    if not seconds < 1e7:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"
