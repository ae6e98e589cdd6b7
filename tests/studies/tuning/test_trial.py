"""One trial: its value, its constraints, and that it can be reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from support import ROOT, searches

from hlynr.records.training import Lineage
from hlynr.records.tuning import FINISHED
from hlynr.rl.train import train
from hlynr.studies.tuning import optuna_study, search_config, search_worker, trial
from hlynr.studies.tuning.search_config import SearchConfig

FILE = ROOT / "params.yaml"
LINEAGE = Lineage(id="test", created="2026-01-01T00:00:00+00:00", retraining=0, params_digest="")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchConfig, optuna.Study]:
    """A study of two trials, worked on in this process."""
    root = tmp_path_factory.mktemp("search")
    found = SearchConfig(
        root=str(root),
        config=search_config.load(searches.FILE, ["tune.seeds=[101, 102]", "tune.prune_below=0.0"]).config,
    )
    optuna_study.begin(found)
    search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=2))
    return found, optuna_study.find(found)


def test_the_objective_is_the_end_less_the_drop_from_the_peak() -> None:
    runs = [searches.run(0.6, 0.8), searches.run(0.5, 0.5)]
    assert trial.objective(runs, 1.0) == pytest.approx((0.6 - 0.2 + 0.5) / 2)
    assert trial.objective(runs, 0.0) == pytest.approx(0.55)


def test_a_collapse_and_a_verdict_that_fails_make_a_trial_infeasible(
    searched: tuple[SearchConfig, optuna.Study],
) -> None:
    config = searched[0].config
    assert config.monitor.collapse_fraction == 0.5
    collapsed = trial.constraints([searches.run(0.8), searches.run(0.3, 0.8)], config)
    assert collapsed == {"collapse": pytest.approx(0.1), "unsound": 0.0}
    broken = trial.constraints([searches.run(0.8), searches.run(0.8, verdict="nan")], config)
    assert broken == {"collapse": pytest.approx(-0.4), "unsound": 1.0}
    assert max(trial.constraints([searches.run(0.8, verdict="plateau")], config).values()) <= 0


def test_a_trial_is_a_training_for_each_seed(searched: tuple[SearchConfig, optuna.Study]) -> None:
    found, study = searched
    record = trial.recorded(study.trials[1])
    assert [run.seed for run in record.runs] == [101, 102]
    assert [len(run.points) for run in record.runs] == [4, 4]
    assert record.runs[0].points != record.runs[1].points
    assert list(record.course) == [*range(2048, 8193, 2048), *range(8192 + 2048, 16385, 2048)]
    assert list(record.course.values()) == [point.success_rate for run in record.runs for point in run.points]
    assert record.value == pytest.approx(trial.objective(record.runs, found.config.tune.drop_penalty))
    assert record.place
    assert not (found.folder / "trials" / "1").exists()


def test_a_trial_alone_has_the_curve_that_it_had_in_the_study(
    searched: tuple[SearchConfig, optuna.Study], tmp_path: Path
) -> None:
    found, study = searched
    record = trial.recorded(study.trials[1])
    result = train(found.trial(1, record.train, 102), tmp_path, LINEAGE, resume=False)
    alone = trial.summed_up(result, found.config)
    assert alone.points == record.runs[1].points
    other = train(found.trial(1, record.train, 103), tmp_path, LINEAGE, resume=False)
    assert trial.summed_up(other, found.config).points != record.runs[1].points


def test_the_first_trial_is_the_strategy_itself(searched: tuple[SearchConfig, optuna.Study]) -> None:
    found, study = searched
    changes = trial.recorded(study.trials[0]).train
    train_section = found.config.train.model_dump(mode="json")
    moved = {key for key in changes if changes[key] != train_section[key]}
    assert moved <= {"ent_coef", "n_epochs"}  # they lie outside the space


def test_one_worker_alone_reproduces_the_search(searched: tuple[SearchConfig, optuna.Study], tmp_path: Path) -> None:
    found, study = searched
    again = SearchConfig(root=str(tmp_path), config=found.config)
    optuna_study.begin(again)
    search_worker.work(search_worker.TrialRequest(search=again, worker=0, trials=2))
    assert [found.params for found in optuna_study.find(again).trials] == [found.params for found in study.trials]
    assert [found.value for found in optuna_study.find(again).trials] == [found.value for found in study.trials]


def test_a_pruned_trial_ends_early(
    searched: tuple[SearchConfig, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = searched
    monkeypatch.setattr(optuna_study.MedianFractionPruner, "prune", lambda self, study, trial: trial.last_step == 4096)
    search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=3))
    record = trial.recorded(optuna_study.find(found).trials[2])
    assert (record.state, record.value, record.runs) == ("pruned", None, ())
    assert list(record.course) == [2048, 4096]
    assert not (found.folder / "trials" / "2").exists()


def test_an_interrupted_trial_goes_back_into_the_queue(
    searched: tuple[SearchConfig, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = searched
    with monkeypatch.context() as patch:
        patch.setattr(trial, "_train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=4))
    *_, failed, waiting = optuna_study.find(found).trials
    assert (failed.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=4))
    done = trial.recorded(optuna_study.find(found).trials[waiting.number])
    assert done.state in FINISHED - {"pruned"}
    assert done.value is not None
    assert (done.retry_of, done.params) == (failed.number, failed.params)


def test_a_training_that_breaks_at_once_makes_an_infeasible_trial(
    searched: tuple[SearchConfig, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hlynr.rl import train as training
    from hlynr.runtime.errors import TrainingError

    def broken(*_: Any, **__: Any) -> None:
        raise TrainingError("no usable policy")

    found, _ = searched
    monkeypatch.setattr(training, "train", broken)
    search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=5))
    record = trial.recorded(optuna_study.find(found).trials[-1])
    assert (record.state, record.value) == ("infeasible", 0.0)
    assert record.constraints["unsound"] == 2.0


def test_the_best_are_feasible_and_no_two_alike() -> None:
    trials = [
        searches.trial(0, 0.5),
        searches.trial(1, 0.9, state="infeasible"),
        searches.trial(2, 0.8),
        searches.trial(3, 0.8, train=searches.trial(2).train),
        searches.trial(4, None, state="pruned"),
        searches.trial(5, 0.7),
    ]
    assert [found.number for found in trial.best(trials, 2)] == [2, 5]
    assert [found.number for found in trial.best(trials, 9)] == [2, 5, 0]


def test_a_signal_in_the_last_rollout_of_a_training_is_not_lost(
    searched: tuple[SearchConfig, optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training has ended by itself; the next seed's must not begin."""
    from hlynr.rl import train as training

    found, _ = searched
    original, begun = training.train, []

    def signalled(*args: Any, **kwargs: Any) -> Any:
        begun.append(1)
        kwargs["on_stop"]()
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train", signalled)
        with pytest.raises(KeyboardInterrupt):
            search_worker.work(search_worker.TrialRequest(search=found, worker=0, trials=6))
    assert len(begun) == 1
    assert optuna_study.find(found).trials[-1].state == TrialState.WAITING
