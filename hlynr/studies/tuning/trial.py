"""One trial of a search: a training for each seed, the value of their results, and its repetition alone.

Steps of Optuna's intermediate values are timesteps, counted on from one training of a trial to the next.
"""

import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.records.training import FATAL, Lineage, TrainResult
from hlynr.records.tuning import TrialRecord, TrialRun
from hlynr.records.tuning import TrialState as State
from hlynr.runtime.errors import InputError, TrainingError
from hlynr.studies.stability.training import points
from hlynr.studies.tuning import foreign, optuna_study, retries
from hlynr.studies.tuning.foreign import PLACE, RUNS, TRAIN
from hlynr.studies.tuning.search_config import SearchConfig, draw

SUCCESS = "eval/success_rate"


class TrialReporter:
    """Reports every evaluation of a trial's training to the study, which may prune the trial."""

    def __init__(self, trial: optuna.Trial, before: int) -> None:
        self._trial, self._before = trial, before

    def log(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Raises `optuna.TrialPruned` where the study prunes the trial."""
        if SUCCESS in values:
            self._trial.report(values[SUCCESS], self._before + timesteps)
            if self._trial.should_prune():
                raise optuna.TrialPruned


def run(trial: optuna.Trial, search: SearchConfig) -> float:
    """Train with every seed; returns the objective, which is maximised.

    Raises:
        optuna.TrialPruned: if the study prunes the trial.
        KeyboardInterrupt: if a training was interrupted.
    """
    from hlynr.ops.tracking import lineage

    config = search.config
    changes = draw(config.tune.space, config.train, trial)
    trial.set_user_attr(TRAIN, changes)
    runs: list[TrialRun] = []
    scratch = search.folder / "trials" / str(trial.number)
    try:
        for number, seed in enumerate(config.tune.seeds):
            reporter = TrialReporter(trial, number * config.tune.timesteps)
            own = search.trial(trial.number, changes, seed)
            runs.append(_train(own, scratch, lineage.start(own, Path(search.root)), reporter))
            trial.set_user_attr(RUNS, [training.model_dump(mode="json") for training in runs])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name, value in constraints(runs, config).items():
        trial.set_constraint(name, value)
    return objective(runs, config.tune.drop_penalty)


def objective(runs: Sequence[TrialRun], penalty: float) -> float:
    """Mean over the seeds of the last window's success, less ``penalty`` times its drop from the best window."""
    return fmean(run.final - penalty * (run.peak - run.final) for run in runs)


def constraints(runs: Sequence[TrialRun], config: Config) -> dict[str, float]:
    """By name; a trial is feasible if none is above zero.

    ``collapse``: points of success by which the worst training's last window is below the bound of a collapse.
    ``unsound``: trainings that ended in a verdict that fails them.
    """
    fraction = config.monitor.collapse_fraction
    return {
        "collapse": max(fraction * run.peak - run.final for run in runs),
        "unsound": float(sum(run.verdict in FATAL for run in runs)),
    }


def _train(config: Config, out: Path, lineage: Lineage, reporter: TrialReporter) -> TrialRun:
    from hlynr.rl.train import train

    try:
        stopped = threading.Event()
        result = train(config, out, lineage, metrics_to=[reporter], resume=False, on_stop=stopped.set)
    except TrainingError:  # it diverged before its first evaluation
        return TrialRun(seed=config.train_seed, verdict="nan", timesteps=0, seconds=0.0, final=0.0, peak=0.0, points=())
    if result.interrupted or stopped.is_set():  # a signal in the last rollout leaves no other trace
        raise KeyboardInterrupt
    return summed_up(result, config)


def summed_up(result: TrainResult, config: Config) -> TrialRun:
    """A training as the trial stores it."""
    from hlynr.rl.monitor import window_means

    means = window_means(result.evaluations, config.monitor.window) or [0.0]
    return TrialRun(
        seed=config.train_seed,
        verdict=result.verdict.status,
        timesteps=result.timesteps,
        seconds=result.seconds,
        final=means[-1],
        peak=max(means),
        points=points(result),
    )


def read(study: optuna.Study) -> list[TrialRecord]:
    """All trials in the order of their numbers."""
    return [recorded(trial) for trial in study.get_trials(deepcopy=False)]


def recorded(trial: FrozenTrial) -> TrialRecord:
    """A trial of the study as a record."""
    attributes, complete = trial.user_attrs, trial.state == TrialState.COMPLETE
    state = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
    if foreign.fault(trial) is not None:
        state, complete = "foreign", False
    elif complete and any(value > 0 for value in trial.constraints.values()):
        state = "infeasible"
    return TrialRecord(
        number=trial.number,
        state=cast(State, state),
        value=trial.value if complete else None,
        train=attributes[TRAIN] if isinstance(attributes.get(TRAIN), dict) else {},
        params=dict(trial.params),
        course=dict(sorted(trial.intermediate_values.items())),
        runs=foreign.runs(trial),
        constraints=dict(trial.constraints),
        retry_of=retries.retry_of(trial),
        place=attributes[PLACE] if isinstance(attributes.get(PLACE), str) else None,
        started=_time(trial.datetime_start),
        ended=_time(trial.datetime_complete),
        seconds=trial.duration.total_seconds() if trial.duration else None,
    )


def _time(moment: datetime | None) -> str | None:
    """Optuna has local times without a zone."""
    return None if moment is None else moment.astimezone().isoformat(timespec="seconds")


def best(trials: Sequence[TrialRecord], top: int) -> list[TrialRecord]:
    """The feasible trials of the highest values, no two with the same changes."""
    found: list[TrialRecord] = []
    for trial in sorted(trials, key=lambda trial: (-(trial.value or 0.0), trial.number)):
        if trial.state == "complete" and all(trial.train != other.train for other in found):
            found.append(trial)
    return found[:top]


def named(reference: str, search: SearchConfig) -> TrialRecord:
    """The trial that ``STUDY:N`` means; the study is that of ``search``.

    Raises:
        hlynr.runtime.errors.InputError: if there is none, it has not begun, or the study has another definition.
    """
    number = reference.rpartition(":")[2]
    trials = optuna_study.find(search).get_trials(deepcopy=False)
    if not number.isdigit() or int(number) >= len(trials):
        raise optuna_study.NoSuchStudyError(f"--trial: {reference}: the study has the trials 0 to {len(trials) - 1}")
    found = recorded(trials[int(number)])
    if not found.train:
        raise optuna_study.NoSuchStudyError(f"--trial: {reference}: has not begun yet")
    return found


@dataclass(frozen=True)
class ReproducedTrial:
    """One training of a trial, to be repeated."""

    project: Project
    out: Path
    trial: TrialRecord
    """As the study has it."""

    def compared(self, now: TrainResult) -> str:
        """One line: whether the training's curve is the one in the study."""
        seed = self.project.config.train_seed
        curve = [(point.timesteps, point.success_rate) for point in now.evaluations]
        known = next((run for run in self.trial.runs if run.seed == seed), None)
        if known is None:
            return f"trial {self.trial.number} has no finished training with seed {seed} to compare with"
        before = [(point.timesteps, point.success_rate) for point in known.points]
        if curve == before:
            return f"the same curve as in the study, {len(curve)} evaluations"
        for (timesteps, rate), (_, rate_then) in zip(curve, before, strict=False):
            if rate != rate_then:
                return f"another curve than in the study: {rate:.1%} at {timesteps:,} timesteps, then {rate_then:.1%}"
        return f"another length than in the study: {len(curve)} evaluations, then {len(before)}"


def reproduced(path: Path, overrides: Iterable[str], strategy: str | None, reference: str) -> ReproducedTrial:
    """The trial ``STUDY:N`` with its first seed; ``overrides`` come last.

    Raises:
        InputError: if there is no such trial, or its study is not that of params.yaml.
        hlynr.config.params.ConfigError: if the overrides make its configuration invalid.
    """
    overrides = list(overrides)
    name = reference.rpartition(":")[0]
    if not name:
        raise InputError(f"--trial: {reference}: is not STUDY:N, like stability:7")
    around = [f"run.strategy={strategy}"] if strategy else []
    config = params.load(path, [*overrides, *around, f"tune.study={name}"])
    search = SearchConfig(root=str(path.absolute().parent.resolve()), config=config)
    found = named(reference, search)
    own = search.trial(found.number, found.train, config.tune.seeds[0])
    changed = params.parse(own.model_dump(mode="json"), overrides)
    out = search.folder / f"trial-{found.number}"
    return ReproducedTrial(Project(Path(search.root), changed), out, found)
