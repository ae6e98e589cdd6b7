"""What the policy sees: within its box, decodable, blind to azimuth, and never the truth."""

from collections.abc import Callable

import numpy as np
import pytest
from support.scenes import MIRROR, VECTORS, in_flight, rotation, seen_through

from hlynr.config.config import Config
from hlynr.envs.environments import observation_space
from hlynr.envs.observation import INDEX, LIMIT, SCHEMA, SIZE, decode
from hlynr.sim.state import STATE

SIDEWAYS = ("relative_velocity_2", "own_velocity_2", "own_acceleration_2", "target_acceleration_2", "los_rate_2",
            "zero_effort_miss_2")  # fmt: skip
"""Channels along the horizontal lateral axis."""


@pytest.mark.parametrize("scenario", ["reference", "precision", "hard"])
@pytest.mark.parametrize("timesteps", [0, 25, 90])
def test_lies_in_its_box(config: Config, scenario: str, timesteps: int) -> None:
    box = observation_space()
    for row in in_flight(config, scenario, timesteps=timesteps).observe():
        assert box.contains(row)


def test_schema_names_are_unique_and_indexed() -> None:
    assert len(INDEX) == SIZE == len(SCHEMA)
    assert [SCHEMA[INDEX[name]].name for name in INDEX] == list(INDEX)


def test_decodes_to_the_units_of_the_state(config: Config) -> None:
    batch = in_flight(config)
    state, seen = batch.state, batch.observe()
    ahead = ((state["tick"] - state["track_tick"]) * config.sim.dt)[:, None]
    relative = state["track_pos"] + ahead * state["track_vel"] - state["own_pos"]
    velocity = state["track_vel"] - state["own_vel"]
    distance = np.linalg.norm(relative, axis=1)
    wanted = {
        "range": distance,
        "closing_velocity": -np.sum(velocity * relative, axis=1) / distance,
        "fuel": state["fuel"],
        "own_height": state["own_pos"][:, 2],
        "target_height": state["own_pos"][:, 2] + relative[:, 2],
        "sin_elevation": relative[:, 2] / distance,
        "cos_elevation": np.hypot(relative[:, 0], relative[:, 1]) / distance,
        "time_left": 25.0 - state["tick"] * config.sim.dt,
        "ever_detected": (state["detection_tick"] >= 0).astype(float),
    }
    for name, value in wanted.items():
        clipped = np.clip(value, -LIMIT * SCHEMA[INDEX[name]].scale, LIMIT * SCHEMA[INDEX[name]].scale)
        np.testing.assert_allclose(decode(seen, name), clipped, rtol=1e-6, atol=1e-5, err_msg=name)
    for name, vector in {"own_velocity": state["own_vel"], "own_acceleration": state["own_acc"]}.items():
        found = np.stack([decode(seen, f"{name}_{axis}") for axis in (1, 2, 3)], axis=1)
        np.testing.assert_allclose(
            np.linalg.norm(found, axis=1), np.linalg.norm(vector, axis=1), rtol=1e-5, err_msg=name
        )


def test_every_vector_of_the_state_is_turned_by_these_tests() -> None:
    assert set(VECTORS) == {name for name in STATE.names if STATE[name].shape[-1:] == (3,)}


@pytest.mark.parametrize("angle", [0.3, 1.57, -2.9])
def test_is_blind_to_azimuth(config: Config, angle: float) -> None:
    batch = in_flight(config)
    before = batch.observe()
    seen_through(batch, rotation(angle))
    np.testing.assert_allclose(batch.observe(), before, atol=2e-6)


def test_stays_blind_to_azimuth_under_the_same_actions(configure: Callable[..., Config]) -> None:
    """The action turns with the scene too. No scan and no gust, whose noise has directions of its own."""
    config = configure("sim.radar_interval=400", "sim.gust_interval=400", "scenarios.hard.cue.interval=0")
    here, there = in_flight(config, timesteps=5), in_flight(config, timesteps=5)
    seen_through(there, rotation(2.0))
    action = np.random.default_rng(5).uniform(-1.0, 1.0, (len(here.state), 3))
    for _ in range(10):
        here.step(action)
        there.step(action)
    np.testing.assert_allclose(there.observe(), here.observe(), atol=2e-5)


def test_a_mirrored_scene_has_a_mirrored_observation(config: Config) -> None:
    batch = in_flight(config)
    mirrored = batch.observe()
    mirrored[:, [INDEX[name] for name in SIDEWAYS]] *= -1.0
    seen_through(batch, MIRROR)
    np.testing.assert_allclose(batch.observe(), mirrored, atol=2e-6)


TRUTH = ("target_pos", "target_vel", "target_acc", "weave_axis", "weave_amplitude", "weave_rate", "weave_phase", "jink",
         "target_speed", "wind", "gust", "min_distance", "spawn_range", "spawn_azimuth", "spawn_elevation",
         "queue_pos", "queue_var", "key")  # fmt: skip
"""What the interceptor cannot know."""


@pytest.mark.parametrize("name", TRUTH)
def test_the_truth_does_not_leak(config: Config, name: str) -> None:
    batch = in_flight(config)
    before = batch.observe()
    batch.state[name] = batch.state[name][::-1].copy()
    np.testing.assert_array_equal(batch.observe(), before)


def test_the_true_target_does_not_move_the_action_either(config: Config) -> None:
    """The frame in which an action is read comes from the estimate as well."""
    here, there = in_flight(config), in_flight(config)
    there.state["target_pos"] += 500.0
    command = np.tile([0.1, 0.2, 0.3], (len(here.state), 1))
    np.testing.assert_array_equal(here.from_inertial(command), there.from_inertial(command))


def test_finite_and_bounded_where_geometry_is_degenerate(config: Config) -> None:
    """Straight overhead, at zero range, at rest."""
    batch = in_flight(config, count=3)
    state = batch.state
    state["track_tick"] = state["tick"]
    state["track_pos"] = state["own_pos"] + np.array([[0.0, 0.0, 1000.0], [0.0, 0.0, 0.0], [0.0, 0.0, -5.0]])
    state["own_vel"][2] = 0.0
    seen = batch.observe()
    assert np.isfinite(seen).all()
    assert np.abs(seen).max() <= LIMIT
