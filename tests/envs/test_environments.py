"""Three entry points to one simulation agree: the single environment, the vector environment, the SB3 adapter."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, Error, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from support.scenes import in_flight

import hlynr.envs
from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.environments import InterceptEnv, InterceptVectorEnv
from hlynr.envs.observation import decode
from hlynr.envs.reward import TERMS
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.sim.state import OUTCOMES

SEED = 21


@pytest.fixture(scope="module")
def short(configure: Callable[..., Config]) -> Config:
    """Episodes of three seconds at most, so that many of them end."""
    return configure("scenarios.reference.time_limit=3.0")


def actions(timesteps: int, rows: int) -> np.ndarray:
    return np.random.default_rng(8).uniform(-1.0, 1.0, (timesteps, rows, 3)).astype(np.float32)


def test_gymnasium_accepts_the_registered_environment(config: Config) -> None:
    assert hlynr.envs.__name__  # importing the package is what registers the name
    env = gymnasium.make("Hlynr/Intercept-v0", config=config, scenario="precision")
    check_env(env.unwrapped)
    env.reset(seed=1)
    env.step(env.action_space.sample())  # through gymnasium's own passive checker
    assert isinstance(env.unwrapped, InterceptEnv)
    env.close()


def test_vector_environment_declares_what_it_does() -> None:
    assert InterceptVectorEnv.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


def test_vector_environment_restarts_in_the_step_in_which_an_episode_ends(short: Config) -> None:
    env = InterceptVectorEnv(short, "reference", num_envs=6, seed=SEED)
    env.reset()
    shadow = EngagementBatch(short, "reference", count=6, seed=SEED)
    shadow.start(np.arange(6), np.arange(6))
    endings = 0
    for action in actions(45, 6):
        observation, reward, terminated, truncated, info = env.step(action)
        terms = shadow.step(action)
        np.testing.assert_array_equal(reward, terms.sum(axis=1))
        np.testing.assert_array_equal(terminated, shadow.ended)
        assert not truncated.any()
        if terminated.any():
            rows = np.flatnonzero(terminated)
            endings += len(rows)
            final = shadow.observe()
            for row in range(6):
                if terminated[row]:
                    np.testing.assert_array_equal(info["final_obs"][row], final[row])
                    assert info["outcome"][row] == OUTCOMES[shadow.state["outcome"][row]] != "running"
                    assert info["miss_distance"][row] == shadow.state["min_distance"][row]
                else:
                    assert info["final_obs"][row] is None
            np.testing.assert_array_equal(info["_final_obs"], terminated)
            shadow.start(rows, env.episodes[rows])
        else:
            assert "final_obs" not in info
        np.testing.assert_array_equal(observation, shadow.observe())
    assert endings >= 6


def test_environment_i_plays_every_nth_episode_from_i_on(short: Config) -> None:
    env = InterceptVectorEnv(short, "reference", num_envs=4, seed=SEED)
    observation, _ = env.reset()
    first_seen = [[row] for row in observation]
    for action in actions(100, 4):
        observation, _, terminated, _, _ = env.step(action)
        for row in np.flatnonzero(terminated):
            first_seen[row].append(observation[row])
    for row, seen in enumerate(first_seen):
        assert len(seen) >= 3
        episodes = row + 4 * np.arange(len(seen))
        alone = EngagementBatch(short, "reference", count=len(seen), seed=SEED)
        alone.start(np.arange(len(seen)), episodes)
        np.testing.assert_array_equal(np.stack(seen), alone.observe())


def test_reset_without_a_seed_goes_on_to_the_next_episodes(config: Config) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=3, seed=SEED)
    env.reset()
    env.reset()
    np.testing.assert_array_equal(env.episodes, [3, 4, 5])
    again, _ = env.reset(seed=SEED)
    np.testing.assert_array_equal(env.episodes, [0, 1, 2])
    np.testing.assert_array_equal(again, InterceptVectorEnv(config, "reference", num_envs=3, seed=SEED).reset()[0])


def test_single_vector_and_adapter_are_bitwise_one_environment(short: Config) -> None:
    single = InterceptEnv(short)
    vector = InterceptVectorEnv(short, "reference", num_envs=1, seed=SEED)
    adapter = InterceptVecEnv(InterceptVectorEnv(short, "reference", num_envs=1, seed=SEED))
    expected, _ = single.reset(seed=SEED)
    np.testing.assert_array_equal(vector.reset()[0][0], expected)
    np.testing.assert_array_equal(adapter.reset()[0], expected)
    endings = 0
    for action in actions(100, 1):
        expected, reward, terminated, truncated, info = single.step(action[0])
        seen, vector_reward, vector_terminated, _, vector_info = vector.step(action)
        adapter_seen, adapter_reward, dones, infos = adapter.step(action)
        assert not truncated
        assert vector_reward[0] == reward
        assert adapter_reward[0] == np.float32(reward)
        assert bool(vector_terminated[0]) == bool(dones[0]) == terminated
        if terminated:
            endings += 1
            np.testing.assert_array_equal(vector_info["final_obs"][0], expected)
            assert vector_info["outcome"][0] == info["outcome"]
            assert infos[0]["is_success"] == (info["outcome"] == "intercept")
            expected, _ = single.reset()
        np.testing.assert_array_equal(seen[0], expected)
        np.testing.assert_array_equal(adapter_seen[0], expected)
    assert endings >= 3


def test_a_row_does_not_depend_on_its_neighbours(short: Config) -> None:
    """Row 2 of four, with its own actions, against the same episodes alone."""
    env = InterceptVectorEnv(short, "reference", num_envs=4, seed=SEED)
    seen = [env.reset()[0][2]]
    alone = EngagementBatch(short, "reference", count=1, seed=SEED)
    alone.start(np.zeros(1), np.array([2]))
    np.testing.assert_array_equal(seen[0], alone.observe()[0])
    episode = 2
    for action in actions(80, 4):
        observation, reward, terminated, _, _ = env.step(action)
        terms = alone.step(action[2:3])
        assert reward[2] == terms.sum(axis=1)[0]
        if terminated[2]:
            episode += 4
            alone.start(np.zeros(1), np.array([episode]))
        np.testing.assert_array_equal(observation[2], alone.observe()[0])
    assert episode > 2


def test_reward_is_the_sum_of_its_named_terms(config: Config) -> None:
    env = InterceptEnv(config)
    env.reset(seed=4)
    for action in actions(60, 1)[:, 0]:
        _, reward, terminated, _, info = env.step(action)
        assert tuple(info["reward_terms"]) == TERMS
        assert reward == pytest.approx(sum(info["reward_terms"].values()), abs=1e-15)
        if terminated:
            break


def test_the_single_environment_says_how_an_episode_ended(short: Config) -> None:
    env = InterceptEnv(short)
    env.reset(seed=2)
    info: dict[str, object] = {}
    for _ in range(30):
        _, _, terminated, _, info = env.step(np.zeros(3))
        if terminated:
            break
    assert info["outcome"] in OUTCOMES[1:]
    assert isinstance(info["miss_distance"], float)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_action_is_read_in_the_frame_of_the_observation(configure: Callable[..., Config], axis: int) -> None:
    """A command along axis k shows up as own acceleration along axis k, and along the estimate for the first."""
    config = configure("scenarios.reference.interceptor.actuator_lag=1e-6")  # the command is the acceleration
    batch = in_flight(config, timesteps=20)
    state = batch.state
    state["fuel"] = 1.0
    ahead = ((state["tick"] - state["track_tick"]) * config.sim.dt)[:, None]
    los = state["track_pos"] + ahead * state["track_vel"] - state["own_pos"]
    los /= np.linalg.norm(los, axis=1, keepdims=True)
    action = np.zeros((len(state), 3))
    action[:, axis] = 1.0
    running = ~batch.ended
    batch.step(action)
    acceleration = state["own_acc"][running] / config.scenarios["reference"].interceptor.max_acceleration
    np.testing.assert_allclose(np.sum(acceleration * los[running], axis=1), float(axis == 0), atol=1e-9)
    if axis == 1:
        np.testing.assert_allclose(acceleration[:, 2], 0.0, atol=1e-12)  # the second axis is level
    if axis == 2:
        assert (acceleration[:, 2] >= 0.0).all()  # the third points up
    # Within one timestep the line of sight, and with it the frame, turns a little.
    seen = np.stack([decode(batch.observe(), f"own_acceleration_{k}") for k in (1, 2, 3)], axis=1)[running]
    assert np.median(seen[:, axis]) > 0.98 * 40.0


def test_actions_beyond_the_box_count_as_its_surface_and_nan_as_zero(config: Config) -> None:
    long, unit = in_flight(config), in_flight(config)
    long.step(np.tile([30.0, -40.0, 0.0], (50, 1)))
    unit.step(np.tile([0.6, -0.8, 0.0], (50, 1)))
    np.testing.assert_allclose(long.observe(), unit.observe(), atol=1e-6)
    broken, still = in_flight(config), in_flight(config)
    broken.step(np.full((50, 3), np.nan))
    still.step(np.zeros((50, 3)))
    np.testing.assert_array_equal(broken.observe(), still.observe())


Env = InterceptEnv | InterceptVectorEnv
KINDS = ["single", "vector"]


def made(kind: str, config: Config) -> Env:
    return InterceptEnv(config) if kind == "single" else InterceptVectorEnv(config, "reference", num_envs=4)


def zeros(kind: str) -> np.ndarray:
    return np.zeros(3) if kind == "single" else np.zeros((4, 3))


def rolled(env: Any, given: np.ndarray) -> list[bytes]:
    """What the steps return; an episode of a single environment that has ended is followed by the next."""
    found = []
    for action in given:
        observation, reward, terminated, _, info = env.step(
            action if isinstance(env, InterceptVectorEnv) else action[0]
        )
        found += [observation.tobytes(), np.asarray(reward).tobytes(), np.asarray(terminated).tobytes()]
        found.append(str(info).encode())
        if terminated is True:
            env.reset()
    return found


# Actions


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (3, 4), (4, 1), (4, 2), (5, 3), (4, 3, 1), (0, 3), (12,)])
def test_a_vector_environment_takes_one_action_for_each_environment(config: Config, shape: tuple[int, ...]) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=4)
    env.reset()
    before = env.batch.state.copy()
    with pytest.raises(ValueError, match=r"the shape \(.*\); \(4, 3\) is needed"):
        env.step(np.zeros(shape))
    with pytest.raises(ValueError, match=r"the shape \(.*\); \(4, 3\) is needed"):
        env.batch.from_inertial(np.zeros(shape))
    assert env.batch.state.tobytes() == before.tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (2,), (4,), (1, 3), (3, 1)])
def test_a_single_environment_takes_one_action(config: Config, shape: tuple[int, ...]) -> None:
    env = InterceptEnv(config)
    env.reset()
    with pytest.raises(ValueError, match="the shape"):
        env.step(np.zeros(shape))


@pytest.mark.parametrize("given", ["text", "objects", "complex", "bool", "none", "ragged"])
def test_actions_that_are_no_real_numbers_are_rejected(config: Config, given: str) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=4)
    env.reset()
    values: dict[str, Any] = {
        "text": np.full((4, 3), "0.5"),
        "objects": np.full((4, 3), 0.5, dtype=object),
        "complex": np.full((4, 3), 0.5 + 1j),
        "bool": np.ones((4, 3), dtype=bool),
        "none": None,
        "ragged": [[0.0, 0.0, 0.0], [0.0], [0.0], [0.0]],
    }
    with pytest.raises((TypeError, ValueError)):
        env.step(values[given])


def test_every_kind_and_layout_of_the_same_numbers_is_the_same_action(config: Config) -> None:
    numbers = np.array([[1, 0, -1], [0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    wide = np.zeros((8, 6), dtype=np.float32)
    wide[::2, ::2] = numbers
    ways: list[Any] = [numbers.astype(kind) for kind in ("f2", "f4", "f8", ">f8", "i1", "i8")]
    ways += [numbers.tolist(), np.asfortranarray(numbers), wide[::2, ::2], numbers[::-1][::-1]]
    results = set()
    for way in ways:
        env = InterceptVectorEnv(config, "reference", num_envs=4)
        env.reset(seed=3)
        results.add(env.step(way)[0].tobytes())
    assert len(results) == 1


def test_infinite_actions_count_as_directions(config: Config) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=4)
    env.reset()
    for value in (np.inf, -np.inf, 1e308):
        observation, reward, *_ = env.step(np.full((4, 3), value))
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_before_the_first_reset_is_an_error_of_gymnasium(config: Config, kind: str) -> None:
    env = made(kind, config)
    with pytest.raises(ResetNeeded):
        env.step(zeros(kind))


def test_a_single_environment_stays_as_it_is_after_the_end(short: Config) -> None:
    env = InterceptEnv(short)
    env.reset(seed=1)
    while not (last := env.step(np.zeros(3)))[2]:
        pass
    observation, reward, terminated, truncated, info = env.step(np.ones(3))
    np.testing.assert_array_equal(observation, last[0])
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["outcome"] == last[4]["outcome"]


# Seeds and options

SEEDS = [0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**100]


@pytest.mark.parametrize("kind", KINDS)
def test_every_seed_is_a_world_of_its_own(config: Config, kind: str) -> None:
    env, other = made(kind, config), made(kind, config)
    found = {}
    for seed in SEEDS:
        found[seed] = env.reset(seed=seed)[0].tobytes()
        assert other.reset(seed=seed)[0].tobytes() == found[seed]
    assert len(set(found.values())) == len(SEEDS)
    for same in (np.int64(1), np.uint8(1), np.uint64(1)):
        assert env.reset(seed=same)[0].tobytes() == found[1]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_that_is_none_is_rejected(config: Config, kind: str) -> None:
    env = made(kind, config)
    for negative in (-1, np.int64(-1), -(2**70)):
        with pytest.raises(Error, match="greater or equal to zero"):
            env.reset(seed=negative)  # type: ignore[arg-type]
    for wrong in (1.0, "1", np.float64(1.0)):
        with pytest.raises(TypeError):
            env.reset(seed=wrong)  # type: ignore[arg-type]
    with pytest.raises(Error, match="greater or equal to zero"):
        InterceptVectorEnv(config, "reference", num_envs=2, seed=-1)


def test_a_seed_for_each_environment_is_that_of_a_single_one(short: Config) -> None:
    seeds = [5, 2**63, 5, 9]
    env = InterceptVectorEnv(short, "reference", num_envs=4)
    singles = [InterceptEnv(short) for _ in seeds]
    observations = env.reset(seed=seeds)[0]
    for single, seed, observation in zip(singles, seeds, observations, strict=True):
        np.testing.assert_array_equal(single.reset(seed=seed)[0], observation)
    for action in actions(70, 4):
        observations, rewards, terminated, _, _ = env.step(action)
        for row, single in enumerate(singles):
            observation, reward, ended, _, _ = single.step(action[row])
            assert (reward, ended) == (rewards[row], terminated[row])
            np.testing.assert_array_equal(single.reset()[0] if ended else observation, observations[row])


def test_without_a_seed_an_environment_goes_on_to_its_next_episode(config: Config) -> None:
    env, whole = (InterceptVectorEnv(config, "reference", num_envs=3) for _ in range(2))
    env.reset(seed=4)
    whole.reset(seed=4)
    second = whole.reset()[0]
    mixed = env.reset(seed=[None, 7, None])[0]
    np.testing.assert_array_equal(mixed[[0, 2]], second[[0, 2]])
    np.testing.assert_array_equal(mixed[1], InterceptEnv(config).reset(seed=7)[0])


def test_a_mask_resets_some_environments_and_leaves_the_others(config: Config) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=3)
    env.reset(seed=4)
    before = env.step(np.zeros((3, 3)))[0]
    after = env.reset(seed=4, options={"reset_mask": np.array([False, True, False])})[0]
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    np.testing.assert_array_equal(after[1], InterceptVectorEnv(config, "reference", num_envs=3).reset(seed=4)[0][1])


def test_a_mask_before_the_first_reset_leaves_environments_that_cannot_step(config: Config) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=2)
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ResetNeeded):
        env.step(np.zeros((2, 3)))


@pytest.mark.parametrize(
    "options",
    [
        {"difficulty": 3},
        {"reset_mask": np.ones(3, dtype=bool)},
        {"reset_mask": np.ones((4, 1), dtype=bool)},
        {"reset_mask": np.zeros(4, dtype=bool)},
        {"reset_mask": np.ones(4)},
        {"reset_mask": None},
    ],
)
def test_unknown_options_are_rejected(config: Config, options: dict[str, Any]) -> None:
    for kind in KINDS:
        with pytest.raises(ValueError, match="options: "):
            made(kind, config).reset(options=options)


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3], [1, 2, 3, 4, 5]])
def test_seeds_that_are_not_one_for_each_environment_are_rejected(config: Config, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="are not one for each of 4 environments"):
        made("vector", config).reset(seed=seeds)  # type: ignore[arg-type]


# Making, closing and copying


@pytest.mark.parametrize("number", [0, -1, -(2**70)])
def test_no_environment_is_no_batch(config: Config, number: int) -> None:
    with pytest.raises(ValueError, match=f"num_envs: {number} should be greater"):
        InterceptVectorEnv(config, "reference", num_envs=number)


def test_rendering_is_no_option(config: Config) -> None:
    with pytest.raises(ValueError, match="render_mode: human is not known"):
        InterceptEnv(config, render_mode="human")
    with pytest.raises(ValueError, match="render_mode: human is not known"):
        InterceptVectorEnv(config, "reference", num_envs=2, render_mode="human")


def test_closed_environments_do_not_go_on(config: Config) -> None:
    env = InterceptVectorEnv(config, "reference", num_envs=2)
    env.reset()
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.step(np.zeros((2, 3)))
    with pytest.raises(ClosedEnvironmentError):
        env.reset()


@pytest.mark.parametrize("kind", [*KINDS, "registered"])
@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_a_copy_made_during_an_episode_goes_on_alike(short: Config, kind: str, way: str) -> None:
    wrapped = gymnasium.make("Hlynr/Intercept-v0", config=short) if kind == "registered" else made(kind, short)
    wrapped.reset(seed=2**63)
    given = actions(60, 4)
    rolled(wrapped.unwrapped, given[:20])
    copied = pickle.loads(pickle.dumps(wrapped)) if way == "pickle" else copy.deepcopy(wrapped)
    assert rolled(copied.unwrapped, given[20:]) == rolled(wrapped.unwrapped, given[20:])


def test_a_configuration_can_be_pickled(configure: Callable[..., Config]) -> None:
    config = configure("run.strategy=two-phase")
    assert pickle.loads(pickle.dumps(config)) == config
