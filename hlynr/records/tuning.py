"""The record of a hyperparameter search: its trials, the candidates of the confirmation, and the winner."""

from typing import Any, Literal

from hlynr.records.base import Record, StoredRecord
from hlynr.records.stability import StabilityPoint, StabilityRun
from hlynr.records.training import AlertKind

TrialState = Literal["running", "complete", "pruned", "infeasible", "failed", "waiting", "foreign"]
FINISHED: frozenset[TrialState] = frozenset({"complete", "pruned", "infeasible"})
"""States that count as done."""


class TrialRun(StoredRecord):
    """One training of a trial."""

    seed: int
    verdict: AlertKind | Literal["healthy"]
    timesteps: int
    seconds: float
    final: float
    """Success over the last window of evaluations."""
    peak: float
    """The best such window."""
    points: tuple[StabilityPoint, ...]


class TrialRecord(Record):
    """One trial of a search."""

    number: int
    state: TrialState
    value: float | None
    """The objective, which is maximised: the mean over the trainings of the last window's success, less the penalty on
    its drop from the best. None if the trial was pruned or failed."""
    train: dict[str, Any]
    """Its changes of the section train."""
    params: dict[str, Any]
    """As Optuna has them."""
    course: dict[int, float]
    """Success by timesteps, counted on from one training to the next."""
    runs: tuple[TrialRun, ...]
    """The trainings that have ended."""
    constraints: dict[str, float]
    """Feasible if none is positive."""
    retry_of: int | None
    """The first trial that this one retries."""
    place: str | None
    """Machine and process."""
    started: str | None
    ended: str | None
    """UTC, ISO 8601."""
    seconds: float | None

    @property
    def has_ended(self) -> bool:
        return self.state in FINISHED or self.state == "failed"


class Candidate(Record):
    """One configuration trained on fresh seeds, and judged on engagements that the search did not use."""

    name: str
    trial: int | None
    """None for the strategy that was searched around."""
    train: dict[str, Any]
    runs: tuple[StabilityRun, ...]
    collapsed: int
    success: float
    """Mean over the runs on the held-out engagements."""
    success_ci: tuple[float, float]
    """Wilson interval over the engagements of all runs, at the gate's confidence; the runs share their engagements, so
    it is somewhat too narrow."""
    drop: float
    """Mean over the runs of the best window's success less the last one's."""
    gain: float | None
    """Of success over the strategy that was searched around; None for itself."""
    gain_ci: tuple[float, float] | None
    """Student's t interval over the seeds, which both share."""


class TuneRecord(Record):
    """A search of hyperparameters, from its trials to its winner."""

    command: str
    study: str
    strategy: str
    """That was searched around."""
    algorithm: Literal["ppo", "recurrent_ppo"]
    created: str
    """UTC, ISO 8601."""
    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    wanted: int
    """Trials."""
    timesteps: int
    """Of each training of a trial."""
    seeds: tuple[int, ...]
    confirm_seeds: tuple[int, ...]
    confirm_timesteps: int
    heldout_seed: int
    heldout_episodes: int
    confidence: float
    search_seconds: float
    """From the first trial's start to the last one's end; time in which nothing ran counts, too."""
    trials: tuple[TrialRecord, ...]
    importances: dict[str, float]
    """Share of each parameter in how the trials differ; empty where there are too few."""
    candidates: tuple[Candidate, ...]
    """The strategy searched around first, then the best trials in the order of their value."""
    winner: str
    """Name of a candidate."""
    reason: str
    missing: dict[str, str]
    """By run, why it has no record."""

    @property
    def strategy_kept(self) -> bool:
        """Whether no candidate beat the strategy searched around."""
        return self.won.trial is None

    @property
    def won(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == self.winner)
