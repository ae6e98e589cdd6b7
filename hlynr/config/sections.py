"""params.yaml as frozen, typed models: one section of the file is one model here."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from hlynr.config import base, calendar
from hlynr.config.base import Bounds, Count, Fraction, NonNegative, OpenFraction, Positive, Section, Seed
from hlynr.config.schedules import ClipSchedule, EntropySchedule, RateSchedule
from hlynr.config.search_space import Space
from hlynr.records.training import AlertKind

DEFAULT = "default"
"""The strategy without an overlay."""
SERVICE = ("schedule", "service", "alerts", "retention")
"""The sections that schedule retraining and run it unattended; they do not change what is trained."""


class Run(Section):
    retraining: int = Field(ge=0, lt=base.SEED_DISTANCE)
    outputs: str = Field(min_length=1)
    strategy: str = Field(min_length=1)


class Sim(Section):
    dt: float = Field(gt=0, le=0.05)
    control_interval: int = Field(ge=1, le=1000)
    radar_interval: int = Field(ge=1, le=1000)
    gust_interval: int = Field(ge=1, le=1000)
    gravity: float = Field(ge=0, le=50)
    scale_height: Positive


class Tracker(Section):
    acceleration_noise: Positive
    gate: Positive
    acceleration_time: Positive


class Reward(Section):
    intercept: Positive
    miss: Positive
    precision: NonNegative
    precision_range: Positive
    progress: NonNegative
    tracking: NonNegative
    effort: NonNegative

    def contradictions(self) -> Iterator[str]:
        """Every intercept must be worth more than every other ending, whatever the per-step terms add up to."""
        per_step, decided = self.progress + self.tracking + self.effort, self.intercept + self.miss - self.precision
        if per_step >= decided:
            yield (
                f"progress: {self.progress} is too much: progress + tracking + effort = {per_step:g} is not below "
                f"intercept + miss - precision = {decided:g}, so that per-step terms could outweigh the outcome"
            )


Unit = Annotated[float, Field(ge=-1, le=1)]


class GuidanceLaws(Section):
    navigation_constant: float = Field(ge=0, le=20)
    axial: Fraction
    inertial: tuple[Unit, Unit, Unit]


class Curriculum(Section):
    """How the capture radius of the training's engagements decreases to the declared one."""

    mode: Literal["frozen", "schedule", "mastery"]
    radii: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)]
    until: Annotated[tuple[Count, ...], Field(max_length=99)]
    success: Fraction
    episodes: Count

    def contradictions(self) -> Iterator[str]:
        if list(self.radii) != sorted(set(self.radii), reverse=True):
            yield f"radii: {list(self.radii)} should decrease: a curriculum becomes harder"
        if list(self.until) != sorted(set(self.until)):
            yield f"until: {list(self.until)} should increase"
        if self.mode == "schedule" and len(self.until) != len(self.radii) - 1:
            yield f"until: {list(self.until)} is not one timestep for each of the radii but the last"


class Train(Section):
    scenario: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    seed: Seed
    timesteps: Count
    device: Literal["auto", "cpu", "cuda"]
    torch_threads: int = Field(ge=1, le=256)
    n_envs: int = Field(ge=1, le=65536)
    n_steps: int = Field(ge=2, le=65536)
    batch_size: int = Field(ge=2)
    n_epochs: int = Field(ge=1, le=100)
    learning_rate: RateSchedule
    clip_range: ClipSchedule
    ent_coef: EntropySchedule
    vf_coef: float = Field(ge=0, le=10)
    gamma: float = Field(gt=0, le=1)
    gae_lambda: Fraction
    max_grad_norm: Positive
    target_kl: Positive | None
    net_arch: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)]
    activation: Literal["tanh", "relu", "elu"]
    log_std_init: float = Field(ge=-20, le=20)
    log_std_min: float = Field(ge=-20, le=20)
    log_std_max: float = Field(ge=-20, le=20)
    lstm_hidden_size: int = Field(ge=1, le=8192)
    lstm_chunk: Count | None
    curriculum: Curriculum
    checkpoint_interval: Count

    @property
    def rollout(self) -> int:
        """Timesteps between two updates of the policy; nothing can happen more often."""
        return self.n_envs * self.n_steps

    def contradictions(self) -> Iterator[str]:
        rollout = f"n_envs * n_steps = {self.rollout}"
        if self.batch_size > self.rollout:
            yield f"batch_size: {self.batch_size} is not in [2, {rollout}]"
        elif self.rollout % self.batch_size:
            yield f"batch_size: {self.batch_size} does not divide {rollout}"
        if self.timesteps < self.rollout:
            yield f"timesteps: {self.timesteps} is not at least one rollout, {rollout}"
        if self.checkpoint_interval < self.rollout:
            yield f"checkpoint_interval: {self.checkpoint_interval} is not at least one rollout, {rollout}"
        if self.log_std_min > self.log_std_max:
            yield f"log_std_min: {self.log_std_min} is not at most log_std_max = {self.log_std_max}"
        elif not self.log_std_min <= self.log_std_init <= self.log_std_max:
            limits = f"[log_std_min = {self.log_std_min}, log_std_max = {self.log_std_max}]"
            yield f"log_std_init: {self.log_std_init} is not in {limits}"


class Monitor(Section):
    interval: Count
    episodes: int = Field(ge=100, le=100_000)
    selection_seed: Seed
    window: int = Field(ge=1, le=100)
    collapse_fraction: OpenFraction
    abort_after: int = Field(ge=0)
    abort_below: Fraction
    plateau_patience: int = Field(ge=1, le=1000)
    plateau_min_delta: Fraction
    farming_drop: OpenFraction
    loss_factor: float = Field(gt=1)
    std_limit: Positive
    saturation_limit: OpenFraction
    stop_on: tuple[AlertKind, ...]


class Evaluation(Section):
    scenario: str
    report_episodes: int = Field(ge=1, le=1_000_000)
    report_seed: Seed
    heldout_episodes: int = Field(ge=1, le=1_000_000)
    heldout_seed: Seed
    slices: int = Field(ge=1, le=20)
    batch_size: int = Field(ge=1, le=1_000_000)
    target_success: Bounds[Fraction]
    target_mean_reward: float
    target_final_distance: Positive


class Gate(Section):
    baseline: float = Field(ge=0, lt=1)
    confidence: OpenFraction
    p_value: OpenFraction
    min_gain: Fraction
    min_mean_reward: float
    max_final_distance: Positive
    evaluator_check_random: Bounds[Fraction]
    evaluator_check_pn: Bounds[Fraction]


class Tracking(Section):
    # MLflow takes a plain folder for its file store, which it has given up, and says so only when it is opened.
    uri: Annotated[
        str,
        base.address(
            r"(sqlite:///[^?\s][^?]*$|(https?|postgresql(\+\w+)?|mysql(\+\w+)?)://\S)",
            "sqlite:///PATH, http(s)://SERVER, postgresql://... or mysql://...",
        ),
    ]
    artifacts: str = Field(min_length=1)
    experiment: str = Field(min_length=1)
    model: str = Field(pattern=r"^[A-Za-z0-9._ -]+$")


class Versioning(Section):
    enabled: bool
    push: bool


class Retrain(Section):
    plan: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=20)]
    retries: int = Field(ge=0, le=100)
    retry_delay: NonNegative
    progress_interval: float = Field(ge=1)
    diagnosis_timesteps: int = Field(ge=0)


class StabilityRuns(Section):
    """One training per seed."""

    strategy: str = Field(min_length=1)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=100)]
    timesteps: Count


class Stability(Section):
    folder: str = Field(min_length=1)
    workers: int = Field(ge=0, le=256)
    runs: Annotated[tuple[StabilityRuns, ...], Field(min_length=1, max_length=100)]


class Confirm(Section):
    """How the best trials of a search are confirmed, beside the strategy that was searched around."""

    top: int = Field(ge=1, le=100)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=2, max_length=100)]
    timesteps: Count
    heldout_seed: Seed


class Tune(Section):
    study: base.Name
    storage: Annotated[str, base.address(r"sqlite:///[^?]+$|postgresql(\+psycopg2)?://", base.DATABASE)]
    trials: int = Field(ge=1, le=100_000)
    workers: int = Field(ge=0, le=256)
    timesteps: Count
    interval: Count
    seeds: Annotated[tuple[Seed, ...], Field(min_length=2, max_length=100)]
    drop_penalty: float = Field(ge=0, le=100)
    sampler_seed: Seed
    startup: int = Field(ge=0, le=100_000)
    prune_after: Count
    prune_below: Fraction
    heartbeat: int = Field(ge=1, le=3600)
    confirm: Confirm
    space: Space


if TYPE_CHECKING:
    TrainOverlay = Section
    MonitorOverlay = Section
else:
    TrainOverlay, MonitorOverlay = base.overlay_of(Train), base.overlay_of(Monitor)


class Strategy(Section):
    """A named overlay of the sections that say how to train."""

    train: TrainOverlay = TrainOverlay()
    monitor: MonitorOverlay = MonitorOverlay()


Port = Annotated[int, Field(ge=1, le=65535)]
NotifiedEvent = Literal["failed", "crashed", "collapsed", "promoted"]


class Schedule(Section):
    cron: Annotated[str, AfterValidator(calendar.checked_cron)] | None
    timezone: Annotated[str, AfterValidator(calendar.checked_timezone)]


class Service(Section):
    host: str = Field(pattern=r"^[A-Za-z0-9.:-]+$")
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.:*-]+$")], ...]
    prefect_port: Port
    mlflow_port: Port
    database: Annotated[str, base.address(r"sqlite:///[^?]+$|postgresql://", base.DATABASE)]
    pool: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    gpu_slots: int = Field(ge=1, le=1000)


class Alerts(Section):
    send: tuple[NotifiedEvent, ...]
    timeout: float = Field(gt=0, le=300)


class Retention(Section):
    days: int = Field(ge=1, le=100_000)
    remote: bool
    after_retraining: bool
