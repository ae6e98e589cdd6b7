"""Trials whose worker was killed, interrupted or cut off, and their way back into the line."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from hlynr.runtime import locks

BROKEN = "broken"
"""Attribute of a trial that failed by an error of its own, which would only come again."""
HISTORY = "retry_history"
"""Optuna's own attribute of a trial: the numbers of those that it takes the place of."""


class Lookout:
    """Puts every lost trial back into the line, once, whichever worker is killed on the way.

    Optuna's own way leaves two gaps. It takes a trial for lost when its last heartbeat is too old, so never one whose
    worker was killed before the first; and it marks a trial as failed before it puts it back, so that a worker killed
    in between loses it. Here a trial that still runs after a whole grace period is given one heartbeat, which changes
    nothing for a living worker and lets the others be missed; and whoever looks puts back what somebody failed to.

    Args:
        storage: the study's.
        grace: [s] without a heartbeat.
    """

    def __init__(self, study: optuna.Study, storage: RDBStorage, grace: float) -> None:
        self._study, self._storage, self._grace = study, storage, grace
        self._id = storage.get_study_id_from_name(study.study_name)
        self._since: dict[int, float] = {}
        self._given: set[int] = set()

    def look(self) -> None:
        """Put back what is lost by now; to be called between one's own trials and while waiting for others."""
        with self._one_at_a_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._give_first_heartbeats()
            optuna.storages.fail_stale_trials(self._study)
            for trial in lost(self._study.get_trials()):
                RetryHeartbeatStaleTrialCallback()(self._study, trial)

    def _give_first_heartbeats(self) -> None:
        now = time.monotonic()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            since = self._since.setdefault(trial.number, now)
            if now - since > self._grace and trial.number not in self._given:
                self._given.add(trial.number)
                self._storage.record_heartbeat(
                    self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
                )

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Over all workers of the study, so that nothing is put back twice; a killed one's lock ends with it."""
        engine, study = self._storage.engine, self._study.study_name
        if engine.dialect.name == "sqlite":
            with locks.hold(Path(f"{engine.url.database}.lock")):
                yield
        else:
            with engine.begin() as connection:
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(study))))
                yield


def lost(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those that failed by no error of their own and that no other trial takes the place of."""
    replaced = {number for trial in trials for number in trial.system_attrs.get(HISTORY, ())}
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and BROKEN not in trial.user_attrs and trial.number not in replaced
    ]


def retry_of(trial: FrozenTrial) -> int | None:
    """The first trial that this one takes the place of."""
    found = trial.system_attrs.get("failed_trial")
    return None if found is None else int(found)
