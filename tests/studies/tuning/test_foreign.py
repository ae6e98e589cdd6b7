"""Trials that others put into a study are shown, and nothing is decided by them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from support import searches

from hlynr.studies.tuning import foreign, search_board, trial
from hlynr.studies.tuning.foreign import PLACE, RUNS, TRAIN

OWN: dict[str, Any] = {
    PLACE: "here:1",
    TRAIN: {"gamma": 0.99},
    RUNS: [searches.run(0.5, seed=101).model_dump(mode="json"), searches.run(0.5, seed=102).model_dump(mode="json")],
}


def complete(value: float = 0.5, rate: float = 0.1, **changed: Any) -> FrozenTrial:
    attributes = {key: value for key, value in (OWN | changed).items() if value is not None}
    space = {"learning_rate": FloatDistribution(0.0, 1.0)}
    return create_trial(value=value, params={"learning_rate": rate}, distributions=space, user_attrs=attributes)


FOREIGN: dict[str, Callable[[], FrozenTrial]] = {
    "no attributes": lambda: create_trial(value=0.9),
    "inf": lambda: complete(math.inf),
    "-inf": lambda: complete(-math.inf),
    "more than a success rate": lambda: complete(7.0),
    "a place that is none": lambda: complete(0.9, **{PLACE: 7}),
    "no changes": lambda: complete(0.9, **{TRAIN: None}),
    "changes that are none": lambda: complete(0.9, **{TRAIN: "gamma"}),
    "no trainings": lambda: complete(0.9, **{RUNS: None}),
    "empty trainings": lambda: complete(0.9, **{RUNS: []}),
    "trainings that are none": lambda: complete(0.9, **{RUNS: [{"seed": "x"}]}),
    "trainings as text": lambda: complete(0.9, **{RUNS: "[]"}),
    "other parameters": lambda: create_trial(
        value=0.9, params={"x": 1.0}, distributions={"x": FloatDistribution(0, 2)}, user_attrs={"who": "else"}
    ),
    "pruned": lambda: create_trial(state=TrialState.PRUNED, intermediate_values={4096: math.nan}),
}


def study_of(*trials: FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


@pytest.mark.parametrize("made", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_trial_is_shown_and_neither_counted_nor_confirmed(made: Callable[[], FrozenTrial]) -> None:
    study = study_of(complete(0.4), made(), complete(0.6, 0.2, **{TRAIN: {"gamma": 0.98}}))
    assert [foreign.fault(each) is None for each in study.trials] == [True, False, True]
    records = trial.read(study)
    assert [record.state for record in records] == ["complete", "foreign", "complete"]
    assert records[1].value is None
    assert [record.number for record in trial.best(records, 3)] == [2, 0]
    board = search_board.SearchBoard("stability", 4, lambda: records)
    assert board.progress() == 2
    assert "best 0.600 (trial 2)" in board.line()
    board.refresh()
    assert list(board.notes) == ["trial 1: foreign, not run by a worker of this search as it stands there: passed over"]
    assert len(foreign.without(study).trials) == 2


def test_two_values_are_none_of_a_search() -> None:
    other = optuna.create_study(directions=["maximize", "maximize"])
    other.add_trial(create_trial(values=[0.5, 0.5], user_attrs=OWN))
    assert foreign.fault(other.trials[0]) == "it has not one value"


def test_waiting_running_and_failed_trials_are_run_again_by_the_search() -> None:
    states = (TrialState.WAITING, TrialState.RUNNING, TrialState.FAIL)
    assert [foreign.fault(create_trial(state=state)) for state in states] == [None] * 3


def test_a_study_without_foreign_trials_is_itself() -> None:
    study = study_of(complete())
    assert foreign.without(study) is study


def test_what_a_newer_version_adds_to_a_training_is_passed_over() -> None:
    newer = [run | {"energy": 1.0} for run in OWN[RUNS]]
    found = trial.read(study_of(complete(0.5, **{RUNS: newer})))[0]
    assert (found.state, len(found.runs)) == ("complete", 2)
