"""Reward: bounded per-step terms, outcomes that decide, a time-out as dear as a miss."""

from collections.abc import Callable

import numpy as np
import pytest

from hlynr.config.config import Config
from hlynr.config.params import ConfigError
from hlynr.envs.reward import TERMS
from hlynr.evaluation.laws import law
from hlynr.evaluation.rollout import EpisodeResults, run_episodes
from hlynr.sim.state import GROUND, INTERCEPT, TARGET_IMPACT, TIMEOUT

EPISODES = 300


def results_of(config: Config, name: str, *, omniscient: bool = False) -> EpisodeResults:
    return run_episodes(
        law(name, config, "reference"),
        config,
        "reference",
        seed=77,
        episodes=EPISODES,
        batch_size=EPISODES,
        omniscient=omniscient,
    )


@pytest.fixture(scope="module")
def results(config: Config) -> list[EpisodeResults]:
    """Every way to end that the laws know, from always winning to never trying."""
    return [results_of(config, name) for name in ("zero", "random", "pursuit", "heading", "pn", "apn", "inertial")] + [
        results_of(config, "pn", omniscient=True)
    ]


def term(found: EpisodeResults, name: str) -> np.ndarray:
    return found.terms[:, TERMS.index(name)]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("progress", 0, 1),
        ("tracking", 0, 1),
        ("effort", -1, 0),
        ("precision", -1, 0),
        ("intercept", 0, 1),
        ("miss", -1, 0),
    ],
)
def test_terms_stay_within_their_scales(
    config: Config, results: list[EpisodeResults], name: str, low: int, high: int
) -> None:
    scale = getattr(config.reward, name)
    for found in results:
        assert term(found, name).min() >= low * scale - 1e-12
        assert term(found, name).max() <= high * scale + 1e-12


def test_the_outcome_pays_once(config: Config, results: list[EpisodeResults]) -> None:
    for found in results:
        np.testing.assert_array_equal(term(found, "intercept"), config.reward.intercept * found.success)
        np.testing.assert_array_equal(term(found, "miss"), -config.reward.miss * ~found.success)


def test_terms_are_what_they_say(config: Config, results: list[EpisodeResults]) -> None:
    reward = config.reward
    for found in results:
        np.testing.assert_allclose(term(found, "effort"), -reward.effort * (1.0 - found.final["fuel"]), atol=1e-12)
        share = np.minimum(found.miss_distance / reward.precision_range, 1.0)
        np.testing.assert_allclose(term(found, "precision"), -reward.precision * share, atol=1e-12)
        np.testing.assert_allclose(found.reward, found.terms.sum(axis=1), atol=1e-12)
        detected = found.final["first_detection_tick"] >= 0
        np.testing.assert_array_equal(term(found, "tracking") > 0.0, detected)


def test_the_worst_intercept_is_worth_more_than_the_best_miss(config: Config, results: list[EpisodeResults]) -> None:
    worst = min(found.reward[found.success].min() for found in results if found.success.any())
    best = max(found.reward[~found.success].max() for found in results if not found.success.all())
    assert worst > best
    reward = config.reward
    assert worst >= reward.intercept - reward.precision - reward.effort
    assert best <= -reward.miss + reward.progress + reward.tracking


def test_a_time_out_costs_as_much_as_any_other_miss(configure: Callable[..., Config]) -> None:
    hurried = configure("scenarios.reference.time_limit=5.0")
    slow = results_of(hurried, "zero")
    other = results_of(configure(), "zero")
    ended = slow.final["outcome"] == TIMEOUT
    assert ended.sum() > 100
    assert set(np.unique(other.final["outcome"])) <= {GROUND, TARGET_IMPACT, INTERCEPT}
    np.testing.assert_array_equal(term(slow, "miss")[ended], -hurried.reward.miss)
    np.testing.assert_array_equal(term(other, "miss")[~other.success], -hurried.reward.miss)


@pytest.mark.parametrize(
    "overrides",
    [
        ["reward.progress=1.5"],
        ["reward.precision=1.6"],
        ["reward.intercept=0.1", "reward.miss=0.1"],
        ["reward.effort=1.2"],
    ],
)
def test_scales_with_which_steps_could_outweigh_the_outcome_are_rejected(
    configure: Callable[..., Config], overrides: list[str]
) -> None:
    with pytest.raises(ConfigError, match="outweigh the outcome"):
        configure(*overrides)


@pytest.mark.parametrize("name", ["progress", "tracking", "effort", "intercept", "miss", "precision"])
def test_scales_scale_their_own_term_only(configure: Callable[..., Config], config: Config, name: str) -> None:
    halved = results_of(configure(f"reward.{name}={getattr(config.reward, name) / 2}"), "pn")
    plain = results_of(config, "pn")
    factors = np.where(np.array(TERMS) == name, 0.5, 1.0)
    np.testing.assert_allclose(halved.terms, plain.terms * factors, atol=1e-12)
