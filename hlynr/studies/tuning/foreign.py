"""Trials that others put into the study: shown, but neither counted, nor compared with, nor confirmed."""

import math

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter, ValidationError

from hlynr.records.tuning import TrialRun

TRAIN, RUNS, PLACE = "train", "runs", "place"
"""Attributes of a trial: its changes of the section train, its trainings, and its machine and process."""
_RUNS: TypeAdapter[tuple[TrialRun, ...]] = TypeAdapter(tuple[TrialRun, ...])


def fault(trial: FrozenTrial) -> str | None:
    """Why a finished trial is none of this search, as a clause; None for one of it, and for one that may become it.

    A waiting trial is run like any other, and a running one is run again once it is stale, also one that others queued.
    """
    if not was_run(trial):
        return "no worker of this search ran it"
    if trial.state != TrialState.COMPLETE:
        return None
    if trial.values is None or len(trial.values) != 1:
        return "it has not one value"
    value = trial.values[0]
    if not math.isfinite(value) or value > 1.0:
        return f"its value {value:g} is no mean success"
    return None if isinstance(trial.user_attrs.get(TRAIN), dict) and runs(trial) else "its trainings cannot be read"


def was_run(trial: FrozenTrial) -> bool:
    """Whether a worker of the search ran it, or still may."""
    finished = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return not finished or isinstance(trial.user_attrs.get(PLACE), str)


def runs(trial: FrozenTrial) -> tuple[TrialRun, ...]:
    """The trainings of a trial that have ended; none where the attribute was edited."""
    try:
        return _RUNS.validate_python(trial.user_attrs.get(RUNS, ()), strict=False)
    except ValidationError:
        return ()


def without(study: optuna.Study) -> optuna.Study:
    """The study, or a copy in memory of its finished trials where it holds some of others."""
    trials = study.get_trials(deepcopy=False)
    own = [trial for trial in trials if fault(trial) is None]
    if len(own) == len(trials):
        return study
    copy = optuna.create_study(direction="maximize")
    copy.add_trials([trial for trial in own if trial.state.is_finished()])
    return copy
