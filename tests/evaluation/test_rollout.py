"""Rollouts: whole episodes, in the order of their numbers, with the memory carried and the frame respected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.observation import decode
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Frame
from hlynr.evaluation.recording import Setup, record
from hlynr.evaluation.rollout import run_episodes
from hlynr.sim.state import OUTCOMES


class Counting:
    """A policy whose state is how often each engagement was seen; it accelerates along the line of sight."""

    name = "counting"
    frame: Frame = "line_of_sight"

    def __init__(self) -> None:
        self.starts: list[np.ndarray] = []
        self.memories: list[Any] = []

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        self.starts.append(episode_start)
        self.memories.append(state)
        seen = np.zeros(len(observation)) if state is None else state
        return np.tile([1.0, 0.0, 0.0], (len(observation), 1)), np.where(episode_start, 1.0, seen + 1.0)


def test_the_memory_is_carried_and_starts_empty_in_each_batch(config: Config) -> None:
    policy = Counting()
    run_episodes(policy, config, "reference", seed=1, episodes=8, batch_size=4)
    firsts = [k for k, memory in enumerate(policy.memories) if memory is None]
    assert len(firsts) == 2
    assert firsts[0] == 0
    for k, start in enumerate(policy.starts):
        assert start.all() == start.any() == (k in firsts)
    second = policy.memories[: firsts[1]]
    np.testing.assert_array_equal(second[-1], np.full(4, len(second) - 1.0))


def test_rows_are_the_episodes_in_order(config: Config) -> None:
    results = run_episodes(Counting(), config, "reference", seed=3, episodes=10, batch_size=4)
    batch = EngagementBatch(config, "reference", count=10, seed=3)
    batch.start(np.arange(10), np.arange(10))
    np.testing.assert_array_equal(results.final["spawn_range"], batch.state["spawn_range"])
    np.testing.assert_array_equal(results.final["spawn_azimuth"], batch.state["spawn_azimuth"])
    np.testing.assert_array_equal(results.final["target_speed"], batch.state["target_speed"])


def test_figures_are_consistent(config: Config) -> None:
    results = run_episodes(law("pn", config, "reference"), config, "reference", seed=3, episodes=400, batch_size=400)
    radius = config.scenarios["reference"].capture_radius
    np.testing.assert_array_equal(results.success, results.miss_distance <= radius)
    assert (results.final_distance >= results.miss_distance - 1e-6).all()
    assert ((results.final["fuel"] >= 0.0) & (results.final["fuel"] <= 1.0)).all()
    assert (results.seconds <= config.scenarios["reference"].time_limit + 1e-9).all()
    first = results.final["first_detection_tick"]
    assert 0.5 < (first >= 0).mean() <= 1.0
    assert (first <= results.final["tick"]).all()
    assert not (results.final["outcome"] == OUTCOMES.index("running")).any()


def test_another_seed_is_another_set_of_engagements(config: Config) -> None:
    one, other = (
        run_episodes(law("zero", config, "reference"), config, "reference", seed=seed, episodes=50, batch_size=50)
        for seed in (1, 2)
    )
    assert not np.intersect1d(one.final["spawn_range"], other.final["spawn_range"]).size


def test_the_blind_law_commands_in_inertial_axes(configure: Callable[..., Config]) -> None:
    """Straight up from everywhere: without air nothing changes the level part of the launch velocity."""
    calm = configure("scenarios.reference.interceptor.drag=0.0")
    recording = record(law("inertial", calm, "reference"), Setup(calm, "reference", 5, 6))
    for path in map(recording.trajectory, range(6)):
        level = (path.own - path.own[0])[:50, :2]
        np.testing.assert_allclose(level, np.arange(50)[:, None] * level[1], atol=1e-6)
        assert path.own[50, 2] > path.own[0, 2] + 200.0


@pytest.mark.parametrize("name", ["pn", "inertial"])
def test_a_recording_has_the_results_of_the_same_episodes(config: Config, name: str) -> None:
    results = run_episodes(law(name, config, "reference"), config, "reference", seed=5, episodes=12, batch_size=12)
    recording = record(law(name, config, "reference"), Setup(config, "reference", 5, 12))
    for episode in (7, 2, 11):
        path = recording.trajectory(episode)
        assert (path.policy, path.episode) == (name, episode)
        assert path.outcome == OUTCOMES[results.final["outcome"][episode]]
        assert path.miss_distance == results.miss_distance[episode]
        assert path.time[-1] == pytest.approx(results.seconds[episode])
        assert len(path.time) == len(path.target) == len(path.own) == len(path.estimate)
        assert (np.diff(path.time) > 0.0).all()
        assert np.linalg.norm(path.target[-1] - path.own[-1]) == pytest.approx(results.final_distance[episode])


def test_the_estimate_of_a_recording_is_what_was_observed(config: Config) -> None:
    """The kernel's extrapolation of the track and the one for arrays are the same."""
    recording = record(law("pn", config, "reference"), Setup(config, "reference", 5, 4))
    distance = np.linalg.norm(recording.estimate - recording.states["own_pos"], axis=2)[:-1]
    for row in range(4):
        underway = recording.running[:, row]
        observed = decode(recording.observations[underway, row], "range")
        assert observed == pytest.approx(distance[underway, row], rel=1e-5)
