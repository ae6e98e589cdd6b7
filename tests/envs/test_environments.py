"""Three entry points to one simulation agree: the single environment, the vector environment, the SB3 adapter."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from support.scenes import actions, in_flight

import hlynr.envs
from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.environments import InterceptEnv, InterceptVectorEnv
from hlynr.envs.observation import decode
from hlynr.envs.reward import TERMS
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.sim.state import OUTCOMES

SEED = 21


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
