"""The diagnosis names the right cause of what was broken on purpose, and none where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from support import broken

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.evaluation.diagnosis import comparisons, episodes, tracker
from hlynr.evaluation.diagnosis.diagnose import NO_FAULT, Subject, diagnose, most_upstream
from hlynr.evaluation.diagnosis.reward import ranking
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Frame, Policy
from hlynr.evaluation.recording import Setup, record
from hlynr.evaluation.rollout import run_episodes
from hlynr.records.diagnosis import Diagnosis, Finding

EPISODES = 80


@dataclass(frozen=True)
class Foreign:
    """PN as one would learn it in the frame of `Shifted`."""

    pn: Policy
    name: str = "foreign"
    frame: Frame = "line_of_sight"

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        action, state = self.pn.predict(observation, state, episode_start)
        return np.roll(action, -1, axis=1), state


@dataclass(frozen=True)
class Remembering:
    """Acts by PN as long as its memory is carried."""

    pn: Policy
    name: str = "remembering"
    frame: Frame = "line_of_sight"

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        action, _ = self.pn.predict(observation, None, episode_start)
        return (np.zeros_like(action) if state is None else action), "started"


@pytest.fixture(scope="module")
def setup(config: Config) -> Setup:
    return Setup(config, "reference", seed=9, episodes=EPISODES)


@pytest.fixture(scope="module")
def pn(config: Config) -> Policy:
    return law("pn", config, "reference")


@pytest.fixture(scope="module")
def sound(setup: Setup, pn: Policy) -> Diagnosis:
    """With everything that can be asked for."""
    subject = Subject("pn", pn, stochastic=law("random", setup.config, "reference"), learner=lambda: pn)
    return diagnose(subject, setup)[0]


def diagnosed(setup: Setup, policy: Policy) -> Diagnosis:
    return diagnose(Subject("subject", policy), setup)[0]


def blamed(diagnosis: Diagnosis) -> set[str]:
    return {finding.check for finding in diagnosis.findings if finding.status == "fault"}


# The whole


def test_no_fault_is_found_where_there_is_none(sound: Diagnosis) -> None:
    assert sound.verdict.startswith(NO_FAULT)
    assert sound.cause is None
    assert not blamed(sound)
    assert sound.success_rate_ci[0] < sound.success_rate < sound.success_rate_ci[1]
    assert len(sound.sampled) == sound.episodes == EPISODES


def test_the_record_is_plain_json_without_what_is_not_finite(sound: Diagnosis) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = sound.model_dump_json()
    json.loads(text, parse_constant=refuse)
    assert Diagnosis.model_validate_json(text) == sound
    assert all(finding.finding.endswith(".") for finding in sound.findings)


@pytest.mark.parametrize(
    ("world", "cause", "words"),
    [
        (broken.Unpredicting, "tracker", "The tracker does not predict"),
        (broken.Stale, "tracker", "The tracker does not predict"),
        (broken.Confident, "tracker", "not that of a Kalman filter"),
        (broken.Shifted, "frame", "The action frame is turned by 90 deg"),
        (broken.Rolled, "frame", "Action frame and observation frame differ by 30 deg"),
        (broken.Skewed, "frame", "The frame is not orthonormal"),
        (broken.Seeing, "frame", "follows the truth"),
        (broken.Farmed, "reward", "can be farmed"),
        (broken.Upside, "reward", "does not rank episodes as success does"),
        (broken.Blank, "observation", "not a number: own_height"),
    ],
)
def test_a_broken_world_is_named(
    setup: Setup, pn: Policy, world: type[EngagementBatch], cause: str, words: str
) -> None:
    found = diagnosed(replace(setup, world=world), pn)
    assert found.cause == cause
    assert words in found.verdict


def test_a_farming_reward_scale_is_named(setup: Setup, pn: Policy) -> None:
    found = diagnosed(setup.altered({"reward.tracking": 20.0}), pn)
    assert found.cause == "reward"
    assert "The reward can be farmed: per-step terms outweigh the outcome" in found.verdict
    assert blamed(found) == {"reward"}
    assert found.finding("reward").figures["stepwise_limit"] == pytest.approx(20.35)


def test_a_policy_of_another_frame_is_named(setup: Setup, pn: Policy) -> None:
    """A bundle trained where the axes were others, in a world that is sound by now."""
    found = diagnosed(setup, Foreign(pn))
    assert found.cause == "frame"
    assert "trained in another action frame" in found.verdict
    assert found.finding("frame").status == "ok"
    assert found.finding("turned").figures["turned"] == found.finding("omniscient").figures["pn_estimate"]


def test_a_policy_that_has_learned_nothing_is_named(setup: Setup) -> None:
    found = diagnosed(setup, law("zero", setup.config, "reference"))
    assert found.cause == "policy"
    assert blamed(found) == {"omniscient"}
    assert "has not learned what PN makes of the same observations" in found.verdict


def test_a_task_out_of_reach_is_named(setup: Setup, pn: Policy) -> None:
    found = diagnosed(setup.altered({"scenario.interceptor.fuel_time": 0.5}), pn)
    assert found.cause == "task"
    assert "even PN on the truth stays below the baseline of 33.0 %" in found.verdict


def test_a_blind_radar_is_named(setup: Setup, pn: Policy) -> None:
    """The tracker is sound, but has nothing to work with."""
    found = diagnosed(setup.altered({"scenario.radar.detection_peak": 0.0, "scenario.cue.position_error": 900.0}), pn)
    assert found.cause == "observation"
    assert found.finding("episodes").figures["never detected"] > 0.9 * EPISODES


@pytest.mark.parametrize("scenario", ["precision", "hard"])
def test_a_harder_scenario_is_no_fault_of_the_pipeline(setup: Setup, scenario: str) -> None:
    """Delay, drop-outs and further cues included."""
    found = diagnosed(replace(setup, scenario=scenario), law("apn", setup.config, scenario))
    assert not blamed(found) & {"tracker", "frame", "turned", "reward", "observations"}


def test_the_most_upstream_fault_comes_first() -> None:
    def finding(check: str, status: Any, cause: Any) -> Finding:
        return Finding(check=check, status=status, cause=cause, finding="x.", figures={})

    policy, frame = finding("a", "fault", "policy"), finding("b", "fault", "frame")
    assert most_upstream([policy, finding("c", "warning", "tracker"), frame]) is frame
    assert most_upstream([policy, frame, finding("d", "fault", "tracker")]).check == "d"  # type: ignore[union-attr]
    assert most_upstream([finding("c", "warning", "tracker"), finding("e", "ok", None)]) is None


# The single checks


def test_the_tracker_is_measured(sound: Diagnosis) -> None:
    figures = sound.finding("tracker").figures
    assert figures["prediction_share_coasting"] == pytest.approx(1.0, abs=1e-9)
    assert figures["prediction_share_updating"] == pytest.approx(1.0, abs=1e-9)
    assert figures["filterpy_difference"] < 1e-6
    assert figures["nis_low"] < 3 < figures["nis_high"]
    assert figures["nees_low"] < 6 < figures["nees_high"]
    assert len(sound.scans) == 100
    assert sound.scans[-1].seconds == pytest.approx(5.0)
    assert sound.scans[-1].position_error < 0.2 * sound.scans[0].position_error


def test_how_far_the_seed_runs_filter_is_off(setup: Setup) -> None:
    figures = tracker.check(replace(setup, world=broken.Unpredicting))[0].figures
    assert figures["prediction_share_coasting"] == pytest.approx(0.0, abs=0.05)
    assert figures["prediction_share_updating"] == pytest.approx(0.0, abs=0.05)
    assert figures["nees"] > 2 * figures["nees_high"]
    assert figures["filterpy_difference"] > 100.0


def test_what_would_be_possible(sound: Diagnosis) -> None:
    figures = sound.finding("omniscient").figures
    assert figures["pn_truth"] > 0.95
    assert figures["learned_on_truth"] == figures["pn_truth"]
    assert figures["policy"] == figures["pn_estimate"] == sound.success_rate


def test_noise_that_costs_is_reported(sound: Diagnosis) -> None:
    finding = sound.finding("noise")
    assert finding.status == "ok"
    assert finding.figures["stochastic"] < finding.figures["deterministic"]
    assert finding.figures["p_value"] < 0.01


def test_a_policy_that_needs_its_noise_is_reported(setup: Setup, pn: Policy) -> None:
    found = comparisons.noise(setup, record(law("zero", setup.config, "reference"), setup), pn)
    assert found.status == "warning"
    assert "needs its noise" in found.finding


def test_memory_is_worth_what_dropping_it_costs(setup: Setup, pn: Policy, sound: Diagnosis) -> None:
    assert sound.finding("memory").status == "skipped"
    policy = Remembering(pn)
    found = comparisons.memory(setup, record(policy, setup), policy, recurrent=True)
    assert "uses its memory" in found.finding
    assert found.figures["carried"] > 0.3
    assert found.figures["dropped"] == 0.0


def test_causes_fit_their_episodes(sound: Diagnosis) -> None:
    assert {episode.cause for episode in sound.sampled} <= set(episodes.CAUSES)
    for episode in sound.sampled:
        assert (episode.cause == "intercept") == (episode.outcome == "intercept")
        assert (episode.cause != "never detected") or (episode.first_detection is None and not episode.detections)
        assert (episode.cause != "detected late") or (episode.first_detection or 0.0) > episodes.LATE
        assert (episode.cause != "fuel spent") or episode.fuel_left == 0.0
    counted = sound.finding("episodes").figures
    assert sum(counted.values()) == EPISODES


def test_gate_rejections_are_a_lost_track(setup: Setup, pn: Policy) -> None:
    gated = setup.altered({"tracker.gate": 0.01})
    sampled = episodes.sample(record(pn, gated), gated)
    assert sum(episode.cause == "track lost" for episode in sampled) > 0.3 * EPISODES


@pytest.mark.parametrize(
    ("reward", "success", "expected"),
    [
        ([3.0, 2.0, 1.0], [True, True, False], 1.0),
        ([1.0, 2.0, 3.0], [True, True, False], 0.0),
        ([1.0, 1.0], [True, False], 0.5),
        ([4.0, 1.0, 2.0, 3.0], [True, True, False, False], 0.5),
        ([1.0, 2.0], [True, True], np.nan),
        ([], [], np.nan),
    ],
)
def test_ranking_counts_pairs(reward: list[float], success: list[bool], expected: float) -> None:
    np.testing.assert_equal(ranking(np.array(reward), np.array(success, dtype=bool)), expected)


# Recording


def test_a_recording_has_the_results_of_the_rollout(setup: Setup, pn: Policy) -> None:
    recording = record(pn, setup)
    results = run_episodes(pn, setup.config, "reference", seed=9, episodes=EPISODES, batch_size=EPISODES)
    np.testing.assert_array_equal(recording.final["outcome"], results.final["outcome"])
    np.testing.assert_array_equal(recording.terms, results.terms)
    np.testing.assert_array_equal(recording.distance[-1], results.final_distance)
    assert (recording.running.sum(axis=0) * 0.1 >= results.seconds - 1e-9).all()
    assert len(record(pn, setup, limit=3).actions) == 3


def test_a_trajectory_ends_with_its_episode(setup: Setup, pn: Policy) -> None:
    recording = record(pn, setup)
    for path in map(recording.trajectory, range(0, EPISODES, 9)):
        assert path.time[-1] == pytest.approx(recording.final["tick"][path.episode] * 0.01)
        assert (np.diff(path.time) > 0.0).all()
        assert len(path.time) == len(path.target) == len(path.own) == len(path.estimate)


def test_an_altered_setup_leaves_the_original(setup: Setup, configure: Callable[..., Config]) -> None:
    other = setup.altered({"sim.gravity": 0.0, "scenario.radar.delay": 3, "reward.miss": -5.0}, episodes=7)
    assert (other.config.sim.gravity, other.config.reward.miss, other.episodes) == (0.0, -5.0, 7)
    assert other.config.scenarios["reference"].radar.delay == 3
    assert other.config.scenarios["precision"] is setup.config.scenarios["precision"]
    assert setup.config == configure()


@pytest.mark.parametrize(
    "changes", [{"scenario.time_limit": 1.0}, {"scenario.time_limit": 0.1}, {"scenario.radar.detection_peak": 0.0}]
)
def test_what_cannot_be_measured_is_no_fault_of_it(setup: Setup, pn: Policy, changes: dict[str, float]) -> None:
    """Engagements that end before anything can be seen, or a radar that never sees."""
    found = diagnosed(setup.altered(changes, episodes=5), pn)
    assert not blamed(found) & {"tracker", "frame", "turned", "reward", "observations"}
    assert Diagnosis.model_validate_json(found.model_dump_json()) == found
