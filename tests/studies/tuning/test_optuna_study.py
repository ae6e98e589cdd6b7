"""The Optuna study: its definition, pruner and sampler."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError
from support import ROOT, databases, faulty_proxy, searches
from support.faulty_proxy import Fault

from hlynr.config.config import Config
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.studies.tuning import optuna_study, search_config
from hlynr.studies.tuning.foreign import PLACE
from hlynr.studies.tuning.search_config import SearchConfig

FILE = ROOT / "params.yaml"

ASKED = pytest.mark.filterwarnings("ignore:Heartbeat of storage")
"""Nothing is trained in these tests, so their trials have no heartbeat."""


@pytest.fixture
def brief(tmp_path: Path) -> SearchConfig:
    return SearchConfig(root=str(tmp_path), config=search_config.load(searches.FILE).config)


def changed(brief: SearchConfig, *overrides: str) -> SearchConfig:
    return SearchConfig(root=brief.root, config=search_config.load(searches.FILE, overrides).config)


@ASKED
def test_the_study_begins_with_the_strategy_itself_and_is_resumed_by_name(brief: SearchConfig) -> None:
    first, again = optuna_study.begin(brief), optuna_study.begin(brief)
    assert [trial.state for trial in again.trials] == [TrialState.WAITING]
    assert first.study_name == again.study_name == "stability"
    trial = optuna_study.join(brief).ask()
    assert trial.suggest_categorical("n_steps", (16, 32)) == brief.config.train.n_steps


def test_a_study_with_another_definition_is_not_resumed(brief: SearchConfig) -> None:
    optuna_study.begin(brief)
    other = changed(brief, "tune.space.gamma.low=0.986", "reward.effort=0.06")
    for opening in (optuna_study.begin, optuna_study.join):
        with pytest.raises(optuna_study.NoSuchStudyError) as error:
            opening(other)
        assert str(error.value) == (
            "tune.study: stability was begun with reward.effort = 0.05, not 0.06 (and 1 more); give the new one "
            "another name, or undo the change"
        )


@pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"], ["maximize"]])
def test_a_study_of_others_under_the_same_name_is_left_alone(brief: SearchConfig, directions: list[str]) -> None:
    other = optuna.create_study(storage=optuna_study._storage(brief), study_name="stability", directions=directions)
    other.add_trial(optuna.trial.create_trial(values=[1.0] * len(directions)))
    for opening in (optuna_study.begin, optuna_study.join):
        with pytest.raises(optuna_study.NoSuchStudyError, match="was not begun by hlynr tune; give the search another"):
            opening(brief)
    assert other.user_attrs == {}


@pytest.mark.parametrize("definition", ["text", [1], None])
def test_an_edited_definition_is_none(brief: SearchConfig, definition: object) -> None:
    optuna_study.begin(brief).set_user_attr(optuna_study.DEFINITION, definition)
    with pytest.raises(optuna_study.NoSuchStudyError, match="was not begun by hlynr tune"):
        optuna_study.join(brief)


def test_a_missing_study_is_not_joined_and_nothing_is_written(brief: SearchConfig, tmp_path: Path) -> None:
    with pytest.raises(optuna_study.NoSuchStudyError, match="there is no study yet in sqlite:///"):
        optuna_study.join(brief)
    assert not list(tmp_path.iterdir())
    optuna_study.begin(brief)
    with pytest.raises(optuna_study.NoSuchStudyError, match=r"tune\.study: other: is no study in .*; known: stability"):
        optuna_study.join(changed(brief, "tune.study=other"))


def test_a_database_that_does_not_answer_is_one_line(brief: SearchConfig) -> None:
    away = changed(brief, "tune.storage=postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(
        EnvironmentNotReady, match=r"^tune.storage: postgresql://nobody@127.0.0.1:9/nothing cannot be"
    ) as error:
        optuna_study.begin(away)
    assert "\n" not in str(error.value)


@ASKED
def test_workers_have_seeds_of_their_own_and_other_ones_when_the_study_is_resumed(brief: SearchConfig) -> None:
    optuna_study.begin(brief)

    def next_rate(worker: int) -> float:
        study = optuna_study.join(brief, worker)
        sampler = study.sampler
        trial = optuna.create_study(sampler=sampler).ask()
        return trial.suggest_float("learning_rate", 0.0, 1.0)

    before = [next_rate(0), next_rate(0), next_rate(1)]
    assert before[0] == before[1] != before[2]
    optuna_study.join(brief).ask()
    optuna_study.join(brief).ask()
    assert next_rate(0) != before[0]


# Pruning


def pruned(brief: SearchConfig, rate: float, others: list[float], timesteps: int = 4096) -> bool:
    """Whether a trial with ``rate`` is pruned where the finished ones had ``others`` at the same time."""
    study = optuna.create_study()
    for other in others:
        trial = study.ask()
        trial.set_user_attr(PLACE, "here:1")
        trial.report(other, timesteps)
        study.tell(trial, other)
    trial = study.ask()
    trial.report(rate, timesteps)
    return optuna_study.MedianFractionPruner(brief.config.tune).prune(study, study.trials[-1])


def test_only_what_is_below_the_fraction_of_the_median_is_pruned(brief: SearchConfig) -> None:
    assert pruned(brief, 0.19, [0.4, 0.1, 0.8])
    assert not pruned(brief, 0.21, [0.4, 0.1, 0.8])


def test_what_others_put_into_the_study_prunes_nothing(brief: SearchConfig) -> None:
    study = optuna.create_study()
    for rate in (math.nan, math.inf, 1.0, 1.0, 1.0):
        study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED, intermediate_values={4096: rate}))
    trial = study.ask()
    trial.report(0.01, 4096)
    assert not optuna_study.MedianFractionPruner(brief.config.tune).prune(study, study.trials[-1])


def test_nothing_is_pruned_early_or_with_too_few_to_compare_with(brief: SearchConfig) -> None:
    assert not pruned(brief, 0.0, [0.4, 0.4], timesteps=2048)
    assert pruned(brief, 0.0, [0.4, 0.4], timesteps=4096)
    assert not pruned(brief, 0.0, [0.4])
    second = brief.config.tune.timesteps
    assert not pruned(brief, 0.0, [0.4, 0.4], timesteps=second + 2048)
    assert pruned(brief, 0.0, [0.4, 0.4], timesteps=second + 4096)
    assert pruned(brief, 0.0, [0.4, 0.4], timesteps=second)


@pytest.mark.parametrize(("rate", "least", "most"), [(0.5, 0.0, 0.001), (0.4, 0.0, 0.01), (0.1, 0.999, 1.0)])
def test_how_often_a_trial_is_pruned_by_chance(
    brief: SearchConfig, config: Config, rate: float, least: float, most: float
) -> None:
    """Beside eleven that are at 50 %, in evaluations of as many episodes as by default: one as good never, one at 10 %
    always."""
    rng, episodes, rounds = np.random.default_rng(1), config.monitor.episodes, 3000
    fraction = config.tune.prune_below
    medians = np.median(rng.binomial(episodes, 0.5, (rounds, 11)), axis=1)
    pruned_share = rng.binomial(episodes, rate, rounds) < fraction * medians
    assert least <= pruned_share.mean() <= most
    # The rule that was simulated is the pruner's.
    others = list(rng.binomial(episodes, 0.5, 11) / episodes)
    for found in rng.binomial(episodes, rate, 5) / episodes:
        assert pruned(brief, found, others) == (found < brief.config.tune.prune_below * float(np.median(others)))


Objective = Callable[[optuna.Trial], float]


def test_the_sampler_avoids_what_collapses(brief: SearchConfig) -> None:
    """The highest values lie where the constraint is broken: without it the sampler goes there, with it it stays away,
    and the best trial is a feasible one."""

    def sound(name: str, *, constrained: bool) -> tuple[optuna.Study, float]:
        """The study, and the share of its later trials that keep the constraint."""
        own = changed(brief, f"tune.study={name}")
        optuna_study.begin(own)
        study = optuna_study.join(own)

        def objective(trial: optuna.Trial) -> float:
            rate = trial.suggest_float("learning_rate", 0.0, 1.0)
            if constrained:
                trial.set_constraint("collapse", rate - 0.5)
            return rate

        study.optimize(objective, n_trials=40)
        late = [trial.params["learning_rate"] for trial in study.trials[20:]]
        return study, sum(rate <= 0.5 for rate in late) / len(late)

    study, share = sound("held", constrained=True)
    assert study.best_trial.params["learning_rate"] <= 0.5
    assert share > 0.4
    assert sound("free", constrained=False)[1] < 0.2


@ASKED
@databases.needed
def test_a_database_that_fails_in_the_middle_is_one_line(brief: SearchConfig) -> None:
    with databases.fresh("study") as address:
        parts = urlsplit(address)
        with faulty_proxy.proxying(parts.hostname or "", parts.port or 5432) as proxy:
            uri = parts._replace(netloc=f"{parts.username}@{proxy.address}").geturl()
            search = changed(brief, f"tune.storage={uri}")
            study = optuna_study.begin(search)
            faults: tuple[Fault, ...] = ("cut", "garbage", "refuse")
            for fault in faults:
                proxy.set(fault)
                with pytest.raises(EnvironmentNotReady) as caught, optuna_study.usable(search):
                    study._storage.get_all_studies()
                line = str(caught.value)
                assert line.startswith(f"tune.storage: {uri} cannot be used: "), fault
                assert "\n" not in line
                proxy.set("none")
            assert len(study.get_trials(deepcopy=False)) == 1


def test_a_line_of_another_store_stays_as_it_is(brief: SearchConfig) -> None:
    line = EnvironmentNotReady("MLflow's server does not answer")
    line.__cause__ = SQLAlchemyError("of MLflow's database")
    with pytest.raises(EnvironmentNotReady, match=r"^MLflow's server does not answer$"), optuna_study.usable(brief):
        raise line
