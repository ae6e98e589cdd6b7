"""One worker of a search, in a process of its own or in somebody else's: trial after trial until there are enough."""

from __future__ import annotations

import sys
import time

import optuna
from optuna.trial import TrialState

from hlynr.records.base import Record
from hlynr.runtime import processes
from hlynr.studies.tuning import optuna_study, trial
from hlynr.studies.tuning.retries import BROKEN, Lookout
from hlynr.studies.tuning.search_config import SearchConfig

COMMAND = [sys.executable, "-P", "-m", "hlynr.studies.tuning.search_worker"]
CLAIMED = (*optuna_study.SEARCHED, TrialState.RUNNING)
PAUSE = 1.0
"""[s] between two looks whether a trial of another worker has been lost."""


class TrialRequest(Record):
    """What a worker is to do."""

    search: SearchConfig
    worker: int
    """Its number, from 0; unlike that of any other worker of the study at the time."""
    trials: int
    """Of the whole study."""


def work(request: TrialRequest) -> None:
    """Work on the study until it has its trials, together with whoever else does.

    Two workers that come to the end of a trial at the same moment may begin one trial more than wanted. The last
    trials of others are waited for: one may be lost, and is then taken over, even if a new trial has come before it.

    Raises:
        KeyboardInterrupt: once the trial at hand is back in the line, if it was asked to stop.
    """
    study = optuna_study.join(request.search, request.worker)
    lookout = optuna_study.lookout(study, request.search)
    while True:
        lookout.look()
        waiting = optuna_study.count(study, (TrialState.WAITING,))
        if optuna_study.count(study) >= request.trials and not waiting:
            return
        if waiting or optuna_study.count(study, CLAIMED) < request.trials:
            _one(study, request.search, lookout)
        else:
            time.sleep(PAUSE)


def _one(study: optuna.Study, search: SearchConfig, lookout: Lookout) -> None:
    def carry_out(begun: optuna.Trial) -> float:
        try:
            return trial.carry_out(begun, search)
        except optuna.TrialPruned:
            raise
        except Exception as error:
            begun.set_user_attr(BROKEN, f"{type(error).__name__}: {error}")
            raise

    try:
        study.optimize(carry_out, n_trials=1)
    except KeyboardInterrupt:
        lookout.look()
        raise


def main() -> int:
    """The child's side."""
    return processes.serve(lambda text, _: work(TrialRequest.model_validate_json(text)))


if __name__ == "__main__":
    sys.exit(main())
