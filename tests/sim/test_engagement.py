import functools

import numpy as np
import pytest
from support.arena import ALL_SEEING, COLLINEAR, EXACT, QUIET, Arena, homing
from support.reference import Engagement

from hlynr.sim import engagement
from hlynr.sim.state import GROUND, INTERCEPT, OUTCOMES, TARGET_IMPACT, TIMEOUT, estimated_relative

TIMESTEPS = 400
"""More than any scenario's time limit."""

FIELDS = (
    "tick", "outcome", "target_pos", "target_vel", "own_pos", "own_vel", "own_acc", "fuel", "gust",
    "track_pos", "track_vel", "track_acc", "p00", "p01", "p11", "track_tick",
    "detections", "rejections", "detection_tick", "first_detection_tick", "nis", "min_distance",
)  # fmt: skip


def _kernel_row(state: np.ndarray) -> np.ndarray:
    return np.column_stack([state[field].reshape(len(state), -1) for field in FIELDS])


def _reference_row(world: Engagement) -> np.ndarray:
    own, target, track, cov = world.own, world.target, world.track, world.track.filter.P
    return np.hstack(
        [
            world.tick, OUTCOMES.index(world.outcome), target.position, target.velocity,
            own.position, own.velocity, own.thrust, own.fuel, world.gust,
            track.position, track.velocity, track.acceleration, cov[0, 0], cov[0, 1], cov[1, 1], world.track_tick,
            world.detections, world.rejections, world.detection_tick, world.first_detection_tick,
            -1.0 if world.nis is None else world.nis, world.min_distance,
        ]
    )  # fmt: skip


@functools.cache
def _noise(episode: int) -> np.ndarray:
    return np.random.default_rng(episode).standard_normal((TIMESTEPS, 3))


def _erratic(arena: Arena, timestep: int) -> np.ndarray:
    """Mostly toward the estimate, sometimes longer than the limit, sometimes not a number."""
    action = np.array([0.7, 0.0, 0.0]) + 0.4 * np.array([_noise(int(e))[timestep] for e in arena.episodes])
    action[np.abs(action) > 1.6] = np.nan
    return action


def _homing(arena: Arena, timestep: int) -> np.ndarray:
    return homing(arena.state, arena.config.sim.dt)


def _nothing(arena: Arena, timestep: int) -> np.ndarray:
    return np.zeros((len(arena.episodes), 3))


def _compare(arena: Arena, name: str, law) -> None:
    """Fly the batch and one reference per row side by side until all have ended; they must agree throughout.

    Tolerance: both sides compute in float64 but add in another order, so they differ by rounding only: measured at
    most 2e-12 m in a position of 3e3 m and 8e-10 m^2 in a variance of 1e5 m^2 after 1,500 ticks. A tolerance of
    1e-9 of the value is a thousand times that, and a thousandth of what the smallest physical term, a gust of one
    tick or the drag at launch, does to a position within one timestep.
    """
    worlds = [Engagement(arena.config, name, 7, int(episode)) for episode in arena.episodes]
    kernel, reference = [_kernel_row(arena.state)], [np.array([_reference_row(world) for world in worlds])]
    for timestep in range(TIMESTEPS):
        if not arena.running.any():
            break
        action = law(arena, timestep)
        arena.advance(action)
        kernel.append(_kernel_row(arena.state))
        for world, command in zip(worlds, action, strict=True):
            world.advance(command)
        reference.append(np.array([_reference_row(world) for world in worlds]))
    assert not arena.running.any()
    np.testing.assert_allclose(np.array(kernel), np.array(reference), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("law", [_erratic, _homing])
@pytest.mark.parametrize("name", ["reference", "precision", "hard"])
def test_kernel_equals_the_reference_over_whole_episodes(name, law):
    arena = Arena(name, episodes=range(16))
    _compare(arena, name, law)
    assert arena.state["detections"].sum() > 200


def test_kernel_equals_the_reference_in_a_strange_world():
    """Intervals that do not divide each other, the longest delay, and a gate that rejects often."""
    intervals = ("sim.dt=0.013", "sim.control_interval=7", "sim.radar_interval=3", "sim.gust_interval=4")
    strange = ("radar.delay=7", "tracker.gate=3", "tracker.acceleration_noise=2", "cue.interval=21")
    arena = Arena("hard", *intervals, *strange, "dropout_interval=17", episodes=range(16))
    _compare(arena, "hard", _homing)
    assert arena.state["rejections"].sum() > 50
    assert arena.state["detections"].sum() > 200


@pytest.mark.parametrize(
    ("outcome", "law", "overrides"),
    [
        ("intercept", _homing, ()),
        ("ground", _nothing, ()),
        ("target_impact", _erratic, ("capture_radius=1",)),
        ("timeout", _erratic, ("time_limit=3",)),
    ],
)
def test_kernel_equals_the_reference_for_every_outcome(outcome, law, overrides):
    scout = Arena("reference", *overrides, episodes=range(64))
    for timestep in range(TIMESTEPS):
        scout.advance(law(scout, timestep))
    ended = scout.episodes[scout.state["outcome"] == OUTCOMES.index(outcome)]
    assert len(ended) >= 6
    _compare(Arena("reference", *overrides, episodes=ended[:6]), "reference", law)


@pytest.fixture(scope="module")
def homed() -> Arena:
    arena = Arena("reference", episodes=range(400))
    while arena.running.any():
        arena.advance(_homing(arena, 0))
    return arena


def test_success_is_decided_by_the_minimum_distance_alone(homed):
    state = homed.state
    success = state["outcome"] == INTERCEPT
    np.testing.assert_array_equal(success, state["min_distance"] <= homed.scenario.capture_radius)
    assert 40 < success.sum() < 360


def test_an_ended_engagement_is_past_its_closest_approach_or_over_for_another_reason(homed):
    state = homed.state
    distance = np.linalg.norm(homed.relative, axis=1)
    assert (distance >= state["min_distance"] - 1e-9).all()
    passed = (state["outcome"] == INTERCEPT) & (state["target_pos"][:, 2] > 0) & (state["own_pos"][:, 2] > 0)
    assert passed.sum() > 40
    assert (distance > state["min_distance"])[passed].all()


def test_ended_engagements_stay_as_they_are(homed):
    before = homed.state.tobytes()
    for _ in range(5):
        homed.advance((1.0, -0.5, 0.3))
    assert homed.state.tobytes() == before


def test_every_outcome_names_its_cause():
    ground = Arena(episodes=range(50)).finish()
    fell = ground["outcome"] == GROUND
    assert fell.sum() > 40
    assert (ground["own_pos"][fell, 2] <= 0).all()
    landed = Arena("reference", "sim.gravity=0", "capture_radius=0.01", episodes=range(50)).finish()
    impact = landed["outcome"] == TARGET_IMPACT
    assert impact.sum() > 20
    assert (landed["target_pos"][impact, 2] <= 0).all()
    late = Arena("reference", "sim.gravity=0", "time_limit=2.34", episodes=range(50)).finish()
    assert (late["outcome"] == TIMEOUT).all()
    assert (late["tick"] == 234).all()


def test_minimum_distance_is_the_true_minimum():
    """Against a search along a cubic through the recorded states, a thousand times finer than a tick's travel."""
    arena = Arena("reference", "sim.control_interval=1", episodes=range(40))
    relative = [arena.relative]
    velocity = [arena.state["target_vel"] - arena.state["own_vel"]]
    ended = np.zeros(len(arena.episodes), int)
    while arena.running.any():
        ended[arena.running] += 1
        arena.advance(_homing(arena, 0))
        relative.append(arena.relative)
        velocity.append(arena.state["target_vel"] - arena.state["own_vel"])
    part = np.linspace(0, 1, 501)[:, None]
    for row, (last, found) in enumerate(zip(ended, arena.state["min_distance"], strict=True)):
        path = np.array(relative)[: last + 1, row]
        near = int(np.argmin(np.linalg.norm(path, axis=1)))
        fine = np.inf
        for k in range(max(near - 1, 0), min(near + 1, last)):
            a, b = path[k], path[k + 1]
            u, v = (arena.config.sim.dt * velocity[k + i][row] for i in (0, 1))
            cubic = a + part * (u + part * ((3 * (b - a) - 2 * u - v) + part * (2 * (a - b) + u + v)))
            fine = min(fine, np.linalg.norm(cubic, axis=1).min())
        # The chord of a tick lies off the curve by at most a dt^2 / 8: a millimetre at 80 m/s^2.
        assert found == pytest.approx(fine, abs=2e-3)


def test_a_fast_pass_between_two_ticks_is_detected():
    """Head on at 1,000 m/s with ticks of 0.05 s, 50 m each: sampling at the ticks would miss a radius of 1 m."""
    fast = ("target.speed=[1000, 1000]", "sim.dt=0.05", "capture_radius=1")
    state = Arena("reference", *QUIET, *COLLINEAR, *fast).finish()
    assert (state["outcome"] == INTERCEPT).all()
    assert state["min_distance"].max() < 0.01


def _advanced(action, timesteps: int = 30, *overrides: str) -> np.ndarray:
    arena = Arena("reference", *overrides, episodes=range(20))
    for _ in range(timesteps):
        arena.advance(action)
    return arena.state


def test_an_action_longer_than_one_is_shortened_to_one():
    direction = np.array([2.0, -3.0, 6.0]) / 7.0
    for field in ("own_pos", "own_vel", "own_acc", "fuel"):
        long, unit = _advanced(2.5 * direction)[field], _advanced(direction)[field]
        np.testing.assert_allclose(long, unit, rtol=1e-12, atol=1e-9)
    assert _advanced(1e150 * direction)["own_pos"] == pytest.approx(_advanced(direction)["own_pos"], abs=1e-6)


def test_an_action_shorter_than_one_is_taken_as_it_is():
    small, half = (_advanced((size, 0.0, 0.0), 1, *QUIET)["own_vel"] - _advanced((0, 0, 0), 1, *QUIET)["own_vel"]
                   for size in (0.25, 0.5))  # fmt: skip
    np.testing.assert_allclose(half, 2 * small, rtol=1e-9)


@pytest.mark.parametrize("component", [0, 1, 2])
def test_a_component_that_is_not_a_number_counts_as_zero(component):
    action = np.array([0.6, 0.3, -0.2])
    missing, zero = action.copy(), action.copy()
    missing[component], zero[component] = np.nan, 0.0
    assert _advanced(missing).tobytes() == _advanced(zero).tobytes()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200, 1e308])
def test_an_enormous_action_leaves_the_state_finite_and_is_obeyed(value):
    state = _advanced((value, 0.0, 0.0), 5)
    for field in state.dtype.names or ():
        assert np.isfinite(state[field]).all(), field
    np.testing.assert_allclose(state["own_pos"], _advanced((np.sign(value), 0.0, 0.0), 5)["own_pos"])


def test_actions_are_read_in_the_line_of_sight_frame_of_the_estimate():
    arena = Arena("hard", *QUIET, episodes=range(50))
    for _ in range(13):
        arena.advance((0.3, 0.2, 0.1))
    wanted = np.broadcast_to([3.0, -4.0, 12.0], (50, 3)).copy()
    action = engagement.into_line_of_sight(arena.state, wanted, arena.params) / 40.0
    thrust, rest = arena.state["own_acc"].copy(), np.exp(-0.1 / arena.scenario.interceptor.actuator_lag)
    arena.advance(action)
    scale = arena.scenario.interceptor.max_acceleration / 40.0
    np.testing.assert_allclose(arena.state["own_acc"], rest * thrust + (1 - rest) * scale * wanted, atol=1e-9)


@pytest.mark.parametrize("omniscient", [False, True])
def test_the_estimate_is_the_track_carried_forward_unless_it_is_the_truth(omniscient):
    arena = Arena("hard", episodes=range(20), omniscient=omniscient)
    for _ in range(17):
        arena.advance((0.8, 0.0, 0.1))
    state = arena.state
    age = (state["tick"] - state["track_tick"])[:, None] * arena.config.sim.dt
    assert (age > 0).all()
    believed = state["track_pos"] + age * state["track_vel"] - state["own_pos"]
    for row in range(20):
        relative = estimated_relative(state[row], arena.params[0])
        np.testing.assert_allclose(relative, (arena.relative if omniscient else believed)[row], atol=1e-9)


VECTORS = (
    "target_pos", "target_vel", "target_acc", "weave_axis", "own_pos", "own_vel", "own_acc", "wind", "track_pos",
    "track_vel", "track_acc",
)  # fmt: skip


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("transform", "sides"),
    [(_turn(40), (1, 1, 1)), (_turn(170), (1, 1, 1)), (np.diag([1.0, -1.0, 1.0]), (1, -1, 1))],
    ids=["turned by 40", "turned by 170", "mirrored"],
)
def test_a_turned_or_mirrored_scene_stays_turned_or_mirrored(transform, sides):
    """Nothing in the physics, the tracker or the action frame singles out an azimuth or a side.

    Measurement noise is drawn in inertial axes and would not turn with the scene, so there is next to none.
    """
    calm = ("wind.gust=0", "target.jink=0", "tracker.gate=1e15", *ALL_SEEING, *EXACT)
    plain, moved = (Arena("hard", *calm, "cue.interval=0", episodes=range(30)) for _ in range(2))
    for field in VECTORS:
        moved.state[field] = plain.state[field] @ transform.T
    for timestep in range(120):
        action = np.nan_to_num(_erratic(plain, timestep))
        plain.advance(action)
        moved.advance(action * np.array(sides))
    np.testing.assert_array_equal(plain.state["outcome"], moved.state["outcome"])
    np.testing.assert_array_equal(plain.state["detections"], moved.state["detections"])
    assert plain.state["detections"].sum() > 1000
    for field in ("target_pos", "target_vel", "own_pos", "own_vel", "track_pos"):
        np.testing.assert_allclose(plain.state[field] @ transform.T, moved.state[field], atol=1e-3)
