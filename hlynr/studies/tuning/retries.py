"""Retries of trials whose worker was killed or interrupted, and all that is used of Optuna beyond its documented API.

The storage's `engine`, `record_heartbeat` and look-ups of ids are public names of classes that Optuna does not mean for
users; without them its two gaps below stay open. `tests/studies/tuning/test_retries.py` checks them.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from hlynr.runtime import locks

BROKEN = "broken"
"""Attribute of a trial that failed by an error of its own, which a retry would only repeat."""


class TrialRetrier:
    """Puts every stale trial back into the queue, once, even if a worker is killed while it does so.

    Optuna itself leaves two gaps. It finds a trial stale by its last heartbeat, so never one whose worker was killed
    before the first; and it marks a trial as failed before it queues the retry, so that a worker killed in between
    drops it. Here a trial that still runs after a whole grace period is given one heartbeat, which changes nothing for
    a living worker and makes the others stale; and failed trials without a retry are queued by the next call.

    Args:
        storage: the study's.
        grace: [s] without a heartbeat.
    """

    def __init__(self, study: optuna.Study, storage: RDBStorage, grace: float) -> None:
        self._study, self._storage, self._grace = study, storage, grace
        self._id = storage.get_study_id_from_name(study.study_name)
        self._since: dict[int, float] = {}
        self._given: set[int] = set()

    def queue_stale(self) -> None:
        """Queue a retry of each trial that is stale by now."""
        with self._exclusive(), experimental():
            self._give_first_heartbeats()
            optuna.storages.fail_stale_trials(self._study)
            for trial in without_retry(self._study.get_trials()):
                RetryHeartbeatStaleTrialCallback()(self._study, trial)

    def _give_first_heartbeats(self) -> None:
        now = time.monotonic()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            since = self._since.setdefault(trial.number, now)
            if now - since > self._grace and trial.number not in self._given:
                self._given.add(trial.number)
                trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)
                self._storage.record_heartbeat(trial_id)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Over all workers of the study, so that no trial is queued twice; freed when its holder is killed."""
        engine, study = self._storage.engine, self._study.study_name
        if engine.dialect.name == "sqlite":
            with locks.hold(Path(f"{engine.url.database}.lock")):
                yield
        else:
            with engine.begin() as connection:
                connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(study))))
                yield


@contextmanager
def experimental() -> Iterator[None]:
    """Use of Optuna's experimental API: constraints.txt pins the version, so its warning says nothing new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def without_retry(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that failed by no error of their own and that no other trial retries."""
    with experimental():
        retried = {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL and BROKEN not in trial.user_attrs and trial.number not in retried
    ]


def retry_of(trial: FrozenTrial) -> int | None:
    """Number of the first trial of a chain of retries; None if the trial is no retry."""
    with experimental():
        return RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
