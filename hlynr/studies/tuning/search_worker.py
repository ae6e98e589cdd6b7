"""A worker of a search: runs trials until the study has enough, in a process of its own or in the caller's."""

import os
import platform
import sys
import time
from collections import Counter

import optuna
from optuna.trial import TrialState

from hlynr.records.base import Record
from hlynr.runtime import processes
from hlynr.runtime.interrupts import HeldInterrupts
from hlynr.studies.tuning import foreign, optuna_study, trial
from hlynr.studies.tuning.foreign import PLACE
from hlynr.studies.tuning.retries import BROKEN, TrialRetrier
from hlynr.studies.tuning.search_config import SearchConfig

COMMAND = [sys.executable, "-P", "-m", "hlynr.studies.tuning.search_worker"]
PAUSE = 1.0
"""[s] between two checks for stale trials of other workers."""


class TrialRequest(Record):
    """What a worker does."""

    search: SearchConfig
    worker: int
    """From 0; no two workers of the study have the same number at a time."""
    trials: int
    """Of the whole study."""


def work(request: TrialRequest) -> None:
    """Run trials until the study has enough, beside the study's other workers.

    Two workers that end a trial at the same moment may begin one trial more than wanted. The last trials of other
    workers are waited for: one may become stale, and is then retried, even if a new trial was begun before.

    Raises:
        KeyboardInterrupt: once the current trial is back in the queue, if the worker was interrupted.
        hlynr.runtime.errors.EnvironmentNotReady: if the study's database cannot be used, at first or in the middle.
    """
    with optuna_study.usable(request.search):
        _work(request)


def _work(request: TrialRequest) -> None:
    study = optuna_study.join(request.search, request.worker)
    retrier = optuna_study.retrier(study, request.search)
    while True:
        retrier.queue_stale()
        states = Counter(each.state for each in study.get_trials(deepcopy=False) if foreign.was_run(each))
        waiting, done = states[TrialState.WAITING], sum(states[state] for state in optuna_study.SEARCHED)
        if done >= request.trials and not waiting:
            return
        if waiting or done + states[TrialState.RUNNING] < request.trials:
            _run_one(study, request.search, retrier)
        else:
            time.sleep(PAUSE)


def _run_one(study: optuna.Study, search: SearchConfig, retrier: TrialRetrier) -> None:
    interrupts = HeldInterrupts()  # elsewhere than in its objective, Optuna would leave the trial marked as running

    def objective(begun: optuna.Trial) -> float:
        with interrupts.let_through():
            begun.set_user_attr(PLACE, f"{platform.node()}:{os.getpid()}")
            try:
                return trial.run(begun, search)
            except optuna.TrialPruned:
                raise
            except Exception as error:
                begun.set_user_attr(BROKEN, f"{type(error).__name__}: {error}")
                raise

    try:
        with interrupts.held():
            study.optimize(objective, n_trials=1)
    except KeyboardInterrupt:
        retrier.queue_stale()
        raise


def main() -> int:
    return processes.serve(lambda text, _: work(TrialRequest.model_validate_json(text)))


if __name__ == "__main__":
    sys.exit(main())
