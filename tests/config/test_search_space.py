"""The search space: drawn in the scale that matters, and never what it does not hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from hlynr.config import search_space
from hlynr.config.config import Config
from hlynr.config.schedules import first, scaled
from hlynr.studies.tuning import search_config

Configure = Callable[..., Config]


@pytest.fixture
def drawn(config: Config) -> list[dict[str, Any]]:
    """What 200 random trials would change."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [search_config.draw(config.tune.space, config.train, study.ask()) for _ in range(200)]


def test_every_searched_setting_is_drawn_and_no_other(config: Config, drawn: list[dict[str, Any]]) -> None:
    searched = set(config.tune.space.searched(config.train.algorithm))
    assert searched == set(search_space.Space.model_fields) - set(search_space.RECURRENT)
    assert all(set(values) == searched for values in drawn)


def test_memory_is_searched_where_there_is_one(configure: Configure) -> None:
    recurrent = configure("run.strategy=default-lstm")
    assert set(recurrent.tune.space.searched(recurrent.train.algorithm)) == set(search_space.Space.model_fields)


def test_what_is_left_out_is_not_searched(configure: Configure) -> None:
    config = configure("tune.space.gamma=null")
    assert "gamma" not in config.tune.space.searched(config.train.algorithm)


@pytest.mark.parametrize(
    ("name", "middle"),
    [
        ("learning_rate", math.sqrt(0.0002 * 0.004)),
        ("gamma", 1 - math.sqrt(0.015 * 0.001)),
        ("gae_lambda", 1 - math.sqrt(0.15 * 0.01)),
        ("log_std_init", -0.65),
        ("n_epochs", 6),
    ],
)
def test_half_of_the_draws_lie_on_either_side_of_the_middle_of_the_scale(
    drawn: list[dict[str, Any]], name: str, middle: float
) -> None:
    """By which a wrong scale is found: uniform draws of gamma would lie above it in three of four cases."""
    values = [values[name]["start"] if isinstance(values[name], dict) else values[name] for values in drawn]
    below = sum(value < middle for value in values) / len(values)
    assert 0.4 < below < 0.6


def test_draws_stay_in_their_bounds_and_are_short(config: Config, drawn: list[dict[str, Any]]) -> None:
    for values in drawn:
        for name, entry in config.tune.space.searched(config.train.algorithm).items():
            value = values[name]["start"] if isinstance(values[name], dict) else values[name]
            if isinstance(entry, search_space.Choices):
                assert value in entry.choices
            else:
                assert entry.low <= value <= entry.high
                assert len(f"{value:.12g}".replace("-", "").replace(".", "").lstrip("0")) <= 7


def test_a_schedule_keeps_its_shape(configure: Configure) -> None:
    linear = configure("train.learning_rate={start: 0.001, end: 0.0005}").train.learning_rate
    assert scaled(linear, 0.002) == {"start": 0.002, "end": 0.001}
    phased = configure("train.learning_rate={phases: [{until: 9, value: 0.001}, {value: 0.0001}]}").train.learning_rate
    assert scaled(phased, 0.0005) == {"phases": [{"until": 9, "value": 0.0005}, {"value": 0.00005}]}
    assert scaled(0.1, 0.2) == 0.2
    without = configure("train.ent_coef={start: 0.0, end: 0.01}").train.ent_coef
    assert scaled(without, 0.002) == 0.002
    assert [first(schedule) for schedule in (linear, phased, 0.1, without)] == [0.001, 0.001, 0.1, 0.0]


def test_the_strategy_itself_is_the_first_trial(configure: Configure) -> None:
    """Moved into the space where it lies outside."""
    config = configure("train.ent_coef=0.0", "train.gamma=0.995", "train.target_kl=0.02", "train.n_epochs=50")
    study = optuna.create_study()
    study.enqueue_trial(search_config.point(config.tune.space, config.train))
    values = search_config.draw(config.tune.space, config.train, study.ask())
    expected = {"ent_coef": 1e-6, "gamma": 0.995, "target_kl": 0.015, "n_epochs": 10, "batch_size": 2048}
    assert {name: values[name] for name in expected} == expected
    assert values["learning_rate"] == config.train.learning_rate.model_dump()
    assert values == search_config.applied(search_config.nearest(config.tune.space, config.train), config.train)


def test_two_values_of_one_setting_are_never_paired(config: Config) -> None:
    found = list(search_config.pairs(config.tune.space, config.train))
    sizes = [len(values) for values in found]
    assert set(sizes) == {1, 2}
    extremes = sum(len(set(entry.extremes())) for entry in config.tune.space.searched(config.train.algorithm).values())
    assert sizes.count(1) == extremes
    assert {"batch_size": 8192, "n_steps": 32} in found or {"n_steps": 32, "batch_size": 8192} in found
