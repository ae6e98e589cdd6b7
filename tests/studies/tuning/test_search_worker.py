"""A worker that is interrupted leaves no trial running, wherever in Optuna the signal finds it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
from optuna.trial import TrialState

from hlynr.studies.tuning import search_worker


def _interrupt(call: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
    def interrupted(*given: Any, **named: Any) -> Any:
        if before:
            os.kill(os.getpid(), signal.SIGINT)
        found = call(*given, **named)
        if not before:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    return interrupted


@pytest.mark.parametrize(
    ("method", "before", "state"),
    [
        ("create_new_trial", False, TrialState.FAIL),
        ("set_trial_user_attr", True, TrialState.FAIL),
        ("set_trial_state_values", True, TrialState.COMPLETE),
        ("set_trial_state_values", False, TrialState.COMPLETE),
    ],
)
def test_an_interrupted_trial_has_ended(
    monkeypatch: pytest.MonkeyPatch, method: str, before: bool, state: TrialState
) -> None:
    study = optuna.create_study(direction="maximize")
    storage: Any = study._storage
    monkeypatch.setattr(storage, method, _interrupt(getattr(storage, method), before=before))
    monkeypatch.setattr(search_worker.trial, "run", lambda *_: 0.5)
    handler, retrier = signal.getsignal(signal.SIGINT), Mock()
    with pytest.raises(KeyboardInterrupt):
        search_worker._run_one(study, Mock(), retrier)
    assert [trial.state for trial in study.get_trials()] == [state]
    retrier.queue_stale.assert_called_once_with()
    assert signal.getsignal(signal.SIGINT) is handler
