import numpy as np
import pytest
from scipy.stats import kstest
from support.arena import Arena
from support.reference import GOLDEN, MASK, Chance, finalise

from hlynr.sim import rng
from hlynr.sim.spawn import initial

DRAWS = 50_000


def _key(seed: int = 7, episode: int = 0) -> np.uint64:
    return np.uint64(rng.engagement_key(seed, episode))


def _along(axis: str, count: int, start: int = 0, draw=rng.uniform) -> np.ndarray:
    """Draws along one coordinate of (seed, episode, tick, channel), the others held at (7, 0, 0, 0)."""
    steps = range(start, start + count)
    if axis == "seed":
        drawn = [draw(_key(seed=step), 0, 0) for step in steps]
    elif axis == "episode":
        drawn = [draw(_key(episode=step), 0, 0) for step in steps]
    elif axis == "tick":
        drawn = [draw(_key(), step, 0) for step in steps]
    else:
        drawn = [draw(_key(), 0, step) for step in steps]
    return np.array(drawn)


def test_finaliser_gives_the_published_sequence():
    """The first outputs of SplitMix64 seeded with 1234567, as published with many implementations of it."""
    published = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)
    for count, expected in enumerate(published, start=1):
        word = (1234567 + count * GOLDEN) & MASK
        assert int(rng._mix(np.uint64(word))) == finalise(word) == expected


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1])
@pytest.mark.parametrize("episode", [0, 1, 99, 10**9])
def test_draws_equal_plain_integer_arithmetic(seed, episode):
    chance = Chance(seed, episode)
    key = _key(seed, episode)
    assert int(key) == chance.key
    for tick in (0, 1, 2500, -1, -2, 2**30 + 10, 2**31 + 1, 2**32 + 1):
        for channel in range(rng.CHANNELS):
            assert rng.uniform(key, tick, channel) == chance.unit(tick, channel)
        np.testing.assert_allclose(rng.normal_triple(key, tick, 9), chance.space(tick, 9), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("axis", ["episode", "seed", "tick"])
def test_uniform_draws_are_uniform_along_every_coordinate(axis):
    sample = _along(axis, DRAWS if axis == "tick" else 20_000)
    assert kstest(sample, "uniform").pvalue > 0.001
    assert 0.0 <= sample.min() < sample.max() < 1.0
    error = 4 / np.sqrt(len(sample))
    assert sample.mean() == pytest.approx(0.5, abs=error * np.sqrt(1 / 12))
    assert sample.var() == pytest.approx(1 / 12, abs=error * np.sqrt(1 / 180))


def test_normal_draws_are_normal():
    sample = _along("tick", DRAWS, draw=rng.normal_triple)
    error = 4 / np.sqrt(DRAWS)
    for column in sample.T:
        assert kstest(column, "norm").pvalue > 0.001
        assert column.mean() == pytest.approx(0.0, abs=error)
        assert column.var() == pytest.approx(1.0, abs=error * np.sqrt(2))
        assert np.mean(column**4) == pytest.approx(3.0, abs=error * np.sqrt(96))
    np.testing.assert_allclose(np.corrcoef(sample.T), np.eye(3), atol=error)
    np.testing.assert_allclose(np.corrcoef(sample.T**2), np.eye(3), atol=error)


def test_a_draw_at_the_lower_edge_is_a_finite_normal():
    """uniform may be 0 but never 1, so the logarithm always has an argument above 0."""
    assert np.isfinite(_along("tick", DRAWS, draw=rng.normal_triple)).all()


@pytest.mark.parametrize("axis", ["seed", "episode", "tick", "channel"])
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 16])
def test_neighbours_are_uncorrelated(axis, lag):
    count = 20_000
    one, other = _along(axis, count), _along(axis, count, start=lag)
    error = 4 / np.sqrt(count)
    assert abs(np.corrcoef(one, other)[0, 1]) < error
    assert abs(np.corrcoef((one - 0.5) ** 2, (other - 0.5) ** 2)[0, 1]) < error


def test_seeds_and_episodes_are_not_interchangeable():
    """Episode e of seed s + 1 is not episode e + 1 of seed s: evaluation seeds may lie side by side."""
    keys = {int(_key(seed, episode)) for seed in range(200) for episode in range(200)}
    assert len(keys) == 200 * 200


def test_channels_of_one_tick_never_reach_into_another_consumer():
    """Every named consumer of a tick owns its channels: none reads a number that another has read."""
    spans = [
        {"spawn": (0, 8), "aim": (rng.AIM, 2), "launch": (rng.LAUNCH, 2), "wind": (rng.WIND_SPEED, 2)},
        {
            "detection": (rng.DETECTION, 1),
            "measurement": (rng.MEASUREMENT, 4),
            "jink": (rng.JINK, 4),
            "cue": (rng.CUE_MEASUREMENT, 4),
        },
    ]
    for consumers in spans:
        used = [channel for start, width in consumers.values() for channel in range(start, start + width)]
        assert len(used) == len(set(used))
        assert max(used) < rng.CHANNELS


def test_hashed_uniforms_depend_on_the_row_alone():
    rows = np.random.default_rng(3).standard_normal((1000, 20)).astype(np.float32)
    drawn = rng.hashed_uniforms(rows, 3)
    np.testing.assert_array_equal(rng.hashed_uniforms(np.ascontiguousarray(rows[::-1]), 3), drawn[::-1])
    np.testing.assert_array_equal(rng.hashed_uniforms(rows[:7], 3), drawn[:7])
    assert kstest(drawn.ravel(), "uniform").pvalue > 0.001
    nudged = rows.copy()
    nudged[:, -1] = np.nextafter(nudged[:, -1], np.float32(9))
    changed = rng.hashed_uniforms(nudged, 3)
    assert abs(np.corrcoef(drawn[:, 0], changed[:, 0])[0, 1]) < 4 / np.sqrt(1000)


def _wobble(episodes: np.ndarray, timestep: int) -> np.ndarray:
    """Actions that depend on nothing but the episode and the time."""
    angle = 1.3 * episodes[:, None] + 0.2 * timestep + np.array([0.0, 1.0, 2.0])
    return np.array([0.6, 0.0, 0.0]) + 0.4 * np.sin(angle)


def _advanced(arena: Arena, timesteps: int = 60) -> np.ndarray:
    for timestep in range(timesteps):
        arena.advance(_wobble(arena.episodes, timestep))
    return arena.state


def _visible(state: np.ndarray) -> np.ndarray:
    """The state without what a scan that saw nothing leaves in its slot of the queue."""
    shown = state.copy()
    shown["queue_pos"][shown["queue_var"] == 0.0] = 0.0
    return shown


@pytest.fixture(scope="module")
def alone() -> np.ndarray:
    return _advanced(Arena("hard", episodes=range(100)))


@pytest.mark.parametrize(
    "batches",
    [
        [range(start, min(start + 7, 100)) for start in range(0, 100, 7)],
        [range(99, -1, -1)],
        [[episode] for episode in range(100)],
    ],
    ids=["batches of 7", "reversed", "one by one"],
)
def test_an_engagement_does_not_depend_on_its_batch(alone, batches):
    for episodes in batches:
        assert _advanced(Arena("hard", episodes=episodes)).tobytes() == alone[list(episodes)].tobytes()


def test_an_engagement_does_not_depend_on_the_rows_around_it_or_on_what_its_row_held_before(alone):
    arena = Arena("hard", episodes=range(500, 700))
    _advanced(arena, 25)
    rows = np.arange(1, 200, 2)
    arena.episodes[rows] = np.arange(100)
    initial(arena.state, rows, arena.episodes[rows], 7, arena.params)
    assert _visible(_advanced(arena)[rows]).tobytes() == _visible(alone).tobytes()


def test_another_seed_is_another_world():
    one, other = Arena(seed=7), Arena(seed=8)
    assert (one.state["spawn_azimuth"] != other.state["spawn_azimuth"]).all()


def test_the_world_is_the_same_whatever_the_policy_does():
    """Target, wind, gust and jink of an engagement do not depend on the actions: that makes comparisons paired."""
    still, active = (Arena("hard", "capture_radius=0.001", "sim.gravity=0") for _ in range(2))
    for timestep in range(60):
        still.advance()
        active.advance(_wobble(active.episodes, timestep))
    both = still.running & active.running
    assert both.sum() > 90
    for field in ("target_pos", "target_vel", "jink", "wind", "gust"):
        np.testing.assert_array_equal(still.state[field][both], active.state[field][both])
