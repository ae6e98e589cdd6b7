import math

import numpy as np
import pytest
from scipy.stats import chisquare, kstest
from support.arena import STEADY, Arena, configured, homing

from hlynr.sim.scenario import parameters
from hlynr.sim.state import RUNNING

COUNT = 4000
LEAVES = {
    key: value
    for key, value in configured("hard").flat().items()
    if key.startswith(("sim.", "tracker.", "scenarios.hard."))
}


def _changed(value):
    """Nearby values that differ, one for each number at this leaf."""
    if isinstance(value, list):
        low, high = value
        return [[0.8 * low if low else 0.2 * high, high], [low, 1.2 * high]]
    if isinstance(value, int):
        return [2 * value]  # an interval stays a multiple of the radar's
    return [0.7 * value]


CHANGES = [
    # A smaller radius than the smallest miss of so few engagements would change nothing.
    (key, 90.0 if key.endswith("capture_radius") else changed)
    for key, value in LEAVES.items()
    for changed in _changed(value)
]


def _whole_episodes(*overrides: str) -> np.ndarray:
    arena = Arena("hard", *overrides, episodes=range(48))
    while arena.running.any():
        arena.advance(homing(arena.state, arena.config.sim.dt))
    return arena.state


@pytest.fixture(scope="module")
def unchanged() -> np.ndarray:
    return _whole_episodes()


@pytest.mark.parametrize(("key", "value"), CHANGES, ids=[f"{key}={value}" for key, value in CHANGES])
def test_every_setting_reaches_the_simulation(unchanged, key, value):
    """A configured value that never reaches the simulation is the seed run's first fault."""
    changed = _whole_episodes(f"{key.removeprefix('scenarios.hard.')}={value}")
    assert changed.tobytes() != unchanged.tobytes()


def test_settings_reach_the_kernel_in_its_units():
    config = configured("hard", "time_limit=12.344")
    row = parameters(config, "hard", omniscient=True)[0]
    assert row["half_angle_cos"] == pytest.approx(math.cos(math.radians(config.scenarios["hard"].radar.half_angle)))
    assert row["launch_error"] == pytest.approx(math.radians(config.scenarios["hard"].interceptor.launch_error))
    assert row["acceleration_variance"] == pytest.approx(config.tracker.acceleration_noise**2)
    assert row["time_limit"] == 1234
    assert row["omniscient"] == 1
    assert parameters(config, "hard")[0]["omniscient"] == 0


def test_an_unknown_scenario_is_a_key_error():
    with pytest.raises(KeyError):
        parameters(configured("hard"), "harder")


@pytest.fixture(scope="module")
def spawned() -> Arena:
    return Arena("reference", episodes=range(COUNT))


def _is_uniform(sample: np.ndarray, low: float, high: float) -> None:
    assert low <= sample.min() <= sample.max() <= high
    assert kstest(sample, "uniform", args=(low, high - low)).pvalue > 0.001


def test_spawn_covers_every_direction(spawned):
    azimuth = np.arctan2(spawned.state["target_pos"][:, 1], spawned.state["target_pos"][:, 0]) % (2 * np.pi)
    np.testing.assert_allclose(azimuth, spawned.state["spawn_azimuth"])
    octants = np.bincount((azimuth // (np.pi / 4)).astype(int), minlength=8)
    assert chisquare(octants).pvalue > 0.001
    _is_uniform(azimuth, 0.0, 2 * np.pi)


def test_spawn_is_uniform_within_its_bounds(spawned):
    state, spawn, target = spawned.state, spawned.scenario.spawn, spawned.scenario.target
    distance = np.linalg.norm(state["target_pos"], axis=1)
    np.testing.assert_allclose(distance, state["spawn_range"])
    _is_uniform(distance, spawn.range * (1 - spawn.range_spread), spawn.range * (1 + spawn.range_spread))
    elevation = np.degrees(np.arcsin(state["target_pos"][:, 2] / distance))
    np.testing.assert_allclose(elevation, np.degrees(state["spawn_elevation"]))
    _is_uniform(elevation, *spawn.elevation)
    _is_uniform(state["target_speed"], *target.speed)
    _is_uniform(state["weave_amplitude"], *target.weave)
    _is_uniform(2 * np.pi / state["weave_rate"], *target.weave_period)
    _is_uniform(state["weave_phase"], 0.0, 2 * np.pi)
    _is_uniform(np.linalg.norm(state["wind"], axis=1), *spawned.scenario.wind.speed)
    _is_uniform(np.arctan2(state["wind"][:, 1], state["wind"][:, 0]), -np.pi, np.pi)


def test_what_is_sampled_is_uncorrelated(spawned):
    names = ("spawn_range", "spawn_azimuth", "spawn_elevation", "target_speed")
    names += ("weave_amplitude", "weave_rate", "weave_phase")
    sampled = np.array([spawned.state[name] for name in names])
    np.testing.assert_allclose(np.corrcoef(sampled), np.eye(len(names)), atol=4 / np.sqrt(COUNT))


def test_targets_aim_around_the_defended_point():
    arena = Arena("reference", *STEADY, episodes=range(COUNT))
    pos, vel = arena.state["target_pos"], arena.state["target_vel"]
    assert (vel[:, 2] < 0).all()
    ground = pos - vel * (pos[:, 2] / vel[:, 2])[:, None]
    for axis in (0, 1):
        assert kstest(ground[:, axis], "norm", args=(0.0, arena.scenario.spawn.aim_spread)).pvalue > 0.001
    np.testing.assert_allclose(np.linalg.norm(vel, axis=1), arena.state["target_speed"])


def test_weave_is_across_the_course_in_every_direction():
    arena = Arena("reference", "spawn.aim_spread=0", episodes=range(COUNT))
    course = -arena.state["target_pos"] / arena.state["spawn_range"][:, None]
    axis = arena.state["weave_axis"]
    np.testing.assert_allclose(np.linalg.norm(axis, axis=1), 1.0)
    np.testing.assert_allclose(np.sum(course * axis, axis=1), 0.0, atol=1e-12)
    level = np.cross([0.0, 0.0, 1.0], course)
    level /= np.linalg.norm(level, axis=1, keepdims=True)
    roll = np.arctan2(np.sum(axis * np.cross(course, level), axis=1), np.sum(axis * level, axis=1))
    _is_uniform(roll, -np.pi, np.pi)


def test_cue_errors_have_their_deviation(spawned):
    state, cue = spawned.state, spawned.scenario.cue
    for track, truth, sigma in (
        ("track_pos", "target_pos", cue.position_error),
        ("track_vel", "target_vel", cue.velocity_error),
    ):
        error = (state[track] - state[truth]) / sigma
        assert kstest(error.ravel(), "norm").pvalue > 0.001
        np.testing.assert_allclose(np.corrcoef(error.T), np.eye(3), atol=4 / np.sqrt(COUNT))
    assert (state["p00"] == cue.position_error**2).all()
    assert (state["p11"] == cue.velocity_error**2).all()
    assert (state["p01"] == 0).all()


def test_launch_is_toward_the_cue_with_its_error():
    # High targets, so that the lowest launch elevation cuts nothing off.
    narrow = ("interceptor.launch_error=4", "cue.position_error=1")
    arena = Arena("reference", "spawn.elevation=[45, 60]", *narrow, episodes=range(COUNT))
    state = arena.state
    cued = state["track_pos"] - state["own_pos"]
    launched = state["own_vel"] / arena.scenario.interceptor.launch_speed
    np.testing.assert_allclose(np.linalg.norm(launched, axis=1), 1.0)
    angle = np.degrees(np.arccos(np.sum(cued * launched, axis=1) / np.linalg.norm(cued, axis=1)))
    assert kstest(angle, "rayleigh", args=(0, arena.scenario.interceptor.launch_error)).pvalue > 0.001


def test_launch_is_never_below_the_lowest_elevation():
    arena = Arena("reference", "spawn.elevation=[0, 20]", "interceptor.launch_elevation_min=10", episodes=range(COUNT))
    velocity = arena.state["own_vel"]
    elevation = np.degrees(np.arctan2(velocity[:, 2], np.hypot(velocity[:, 0], velocity[:, 1])))
    assert elevation.min() == pytest.approx(10.0)
    assert 0.2 < np.mean(elevation < 10.0 + 1e-9) < 0.8


def test_an_engagement_starts_with_no_detection_and_full_fuel(spawned):
    state = spawned.state
    np.testing.assert_array_equal(state["own_pos"][:, :2], 0.0)
    np.testing.assert_array_equal(state["own_pos"][:, 2], spawned.scenario.interceptor.launch_height)
    assert (state["fuel"] == 1.0).all()
    assert (state["outcome"] == RUNNING).all()
    for field, value in (("tick", 0), ("detections", 0), ("rejections", 0), ("detection_tick", -1), ("nis", -1)):
        assert (state[field] == value).all()
    np.testing.assert_allclose(state["min_distance"], np.linalg.norm(spawned.relative, axis=1))
