"""Trials whose worker was killed are retried, at whatever moment it was killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState
from support import databases, searches

from hlynr.studies.tuning import optuna_study, retries, search_config, search_worker
from hlynr.studies.tuning import trial as trials
from hlynr.studies.tuning.retries import TrialRetrier
from hlynr.studies.tuning.search_config import SearchConfig
from hlynr.studies.tuning.search_worker import TrialRequest

pytestmark = [
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),  # trials asked for by hand are the killed ones here
    pytest.mark.usefixtures("brisk"),
]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of no time, and little patience between them."""
    monkeypatch.setattr(search_worker, "PAUSE", 0.1)
    monkeypatch.setattr(trials, "run", lambda begun, _: begun.suggest_float("learning_rate", 0.0, 1.0))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=databases.needed)])
def brief(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SearchConfig]:
    """A new study, on either database."""
    if request.param == "sqlite":
        made = SearchConfig(root=str(tmp_path), config=search_config.load(searches.FILE).config)
        optuna_study.begin(made)
        yield made
        return
    with databases.fresh("retries") as address:
        config = search_config.load(searches.FILE, [f"tune.storage={address}"]).config
        made = SearchConfig(root=str(tmp_path), config=config)
        optuna_study.begin(made)
        yield made


def begun(study: optuna.Study) -> tuple[optuna.Trial, float]:
    """A trial as its worker had it when it was killed."""
    trial = study.ask()
    return trial, trial.suggest_float("learning_rate", 0.0, 1.0)


def give_heartbeat(study: optuna.Study, trial: optuna.Trial) -> None:
    """As its worker did before it was killed."""
    storage = study._storage
    assert isinstance(storage, BaseHeartbeat)
    storage.record_heartbeat(trial._trial_id)


def retries_of(study: optuna.Study, number: int) -> list[FrozenTrial]:
    return [trial for trial in study.trials if retries.retry_of(trial) == number]


def test_optuna_has_what_retries_needs_beyond_its_documented_api(tmp_path: Path) -> None:
    version = f"hlynr.studies.tuning.retries was written against Optuna 5.0; this is {optuna.__version__}"
    address = f"sqlite:///{tmp_path}/optuna.db"
    with retries.experimental():
        storage = optuna.storages.RDBStorage(address, heartbeat_interval=1, grace_period=3)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    study_id = storage.get_study_id_from_name(study.study_name)
    assert storage.get_trial_id_from_study_id_trial_number(study_id, 0) == trial._trial_id, version
    assert (storage.engine.dialect.name, storage.engine.url.database) == ("sqlite", f"{tmp_path}/optuna.db"), version
    storage.record_heartbeat(trial._trial_id)
    study.tell(trial, state=TrialState.FAIL)
    with retries.experimental():
        optuna.storages.RetryHeartbeatStaleTrialCallback()(study, study.trials[0])
        assert optuna.storages.RetryHeartbeatStaleTrialCallback.retry_history(study.trials[1]) == [0], version
    assert retries.retry_of(study.trials[1]) == 0, version


def test_killed_before_the_first_heartbeat(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    killed, rate = begun(study)
    search_worker.work(TrialRequest(search=brief, worker=1, trials=3))
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL] + 3 * [TrialState.COMPLETE]
    assert [(retry.number, retry.params) for retry in retries_of(study, killed.number)] == [
        (3, {"learning_rate": rate})
    ]


def test_killed_after_some_heartbeats(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    killed, rate = begun(study)
    give_heartbeat(study, killed)
    search_worker.work(TrialRequest(search=brief, worker=1, trials=1))
    (retry,) = retries_of(study, killed.number)
    assert (retry.state, retry.params) == (TrialState.COMPLETE, {"learning_rate": rate})


def test_killed_while_it_queued_a_retry(brief: SearchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stale trial is marked as failed by then, and Optuna would not retry it."""
    study = optuna_study.join(brief)
    killed, rate = begun(study)
    give_heartbeat(study, killed)
    time.sleep(optuna_study.GRACE * brief.config.tune.heartbeat + 1.1)  # the databases' clocks may tick in seconds
    with monkeypatch.context() as patch:
        patch.setattr(retries, "without_retry", lambda _: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            optuna_study.retrier(study, brief).queue_stale()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
    optuna_study.retrier(study, brief).queue_stale()
    (retry,) = retries_of(study, killed.number)
    assert (retry.state, retry.params) == (TrialState.WAITING, {"learning_rate": rate})


def test_a_retry_that_fails_is_retried_once_itself(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    first, rate = begun(study)
    for _ in range(3):
        study.tell(study.trials[-1].number, state=TrialState.FAIL)
        for _ in range(2):
            optuna_study.retrier(study, brief).queue_stale()
        again, _ = begun(study)
    assert [trial.params for trial in study.trials] == 4 * [{"learning_rate": rate}]
    assert [retries.retry_of(trial) for trial in study.trials] == [None] + 3 * [first.number]
    assert again.number == 3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # threads share the filters
def test_workers_that_check_at_the_same_time_queue_one_retry(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    for _ in range(4):
        killed, _ = begun(study)
        study.tell(killed, state=TrialState.FAIL)
    retriers = [optuna_study.retrier(optuna_study.join(brief), brief) for _ in range(6)]
    together = threading.Barrier(len(retriers))

    def queue(one: TrialRetrier) -> None:
        together.wait()
        one.queue_stale()

    threads = [threading.Thread(target=queue, args=(one,)) for one in retriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(retries.retry_of(trial) or 0 for trial in study.trials[4:]) == [0, 1, 2, 3]


def test_it_is_retried_also_after_new_trials(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    (killed, rate), (done, _) = begun(study), begun(study)
    study.tell(done, 0.5)
    study.tell(killed, state=TrialState.FAIL)
    search_worker.work(TrialRequest(search=brief, worker=1, trials=1))
    (retry,) = retries_of(study, killed.number)
    assert (retry.state, retry.params) == (TrialState.COMPLETE, {"learning_rate": rate})


def test_a_trial_that_broke_by_itself_is_not_retried(brief: SearchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> float:
        raise ZeroDivisionError("of its own")

    with monkeypatch.context() as patch:
        patch.setattr(trials, "run", broken)
        with pytest.raises(ZeroDivisionError):
            search_worker.work(TrialRequest(search=brief, worker=1, trials=1))
    search_worker.work(TrialRequest(search=brief, worker=1, trials=1))
    failed, done = optuna_study.find(brief).trials
    assert (failed.state, failed.user_attrs[retries.BROKEN]) == (TrialState.FAIL, "ZeroDivisionError: of its own")
    assert (done.state, retries.retry_of(done)) == (TrialState.COMPLETE, None)


def test_a_trial_with_heartbeats_is_not_retried_however_long_it_takes(brief: SearchConfig) -> None:
    study = optuna_study.join(brief)
    other = optuna_study.retrier(optuna_study.join(brief), brief)

    def slow(_: optuna.Trial) -> float:
        until = time.monotonic() + 5.0  # of which it may be silent for three
        while time.monotonic() < until:
            time.sleep(0.1)
            other.queue_stale()
        return 0.5

    study.optimize(slow, n_trials=1)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
