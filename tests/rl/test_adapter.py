"""The SB3 adapter: fresh arrays, shared empty infos, and stock algorithms that run on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from stable_baselines3 import PPO

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.envs.reward import TERMS
from hlynr.rl.adapter import InterceptVecEnv


@pytest.fixture
def env(configure: Callable[..., Config]) -> InterceptVecEnv:
    short = configure("scenarios.reference.time_limit=2.0")
    return InterceptVecEnv(InterceptVectorEnv(short, "reference", num_envs=8, seed=3))


def actions(timesteps: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(-1.0, 1.0, (timesteps, 8, 3)).astype(np.float32)


def test_what_is_handed_out_belongs_to_the_receiver(env: InterceptVecEnv, configure: Callable[..., Config]) -> None:
    """Spoiling every array changes nothing of what comes later; SB3 does add to the rewards in place."""
    short = configure("scenarios.reference.time_limit=2.0")
    untouched = InterceptVecEnv(InterceptVectorEnv(short, "reference", num_envs=8, seed=3))
    env.reset()[:] = np.nan
    untouched.reset()
    earlier: list[np.ndarray] = []
    for action in actions(50):
        found, wanted = env.step(action), untouched.step(action)
        for one, other in zip(found[:3], wanted[:3], strict=True):
            np.testing.assert_array_equal(one, other)
            assert not any(np.shares_memory(one, old) for old in earlier)
        assert found[3] == wanted[3]
        earlier = [*found[:3]]
        found[0][:] = np.nan
        found[1][:] += 1000.0
        found[2][:] = ~found[2]


def test_infos_are_shared_and_empty_but_where_an_episode_ended(env: InterceptVecEnv) -> None:
    env.reset()
    returns, lengths, endings = np.zeros(8), np.zeros(8, dtype=int), 0
    for action in actions(60):
        _, rewards, dones, infos = env.step(action)
        returns += rewards
        lengths += 1
        assert len(infos) == 8
        assert len({id(info) for info in infos}) == dones.sum() + (not dones.all())
        for row in range(8):
            if not dones[row]:
                assert infos[row] == {}
                continue
            endings += 1
            assert infos[row]["episode"]["r"] == pytest.approx(returns[row], abs=1e-5)
            assert infos[row]["episode"]["l"] == lengths[row]
            assert isinstance(infos[row]["is_success"], bool)
            assert "terminal_observation" not in infos[row]
            returns[row] = lengths[row] = 0
    assert endings >= 16


def test_types_are_those_stable_baselines_expects(env: InterceptVecEnv) -> None:
    observation = env.reset()
    assert (observation.dtype, observation.shape) == (np.float32, (8, env.observation_space.shape[0]))
    observation, rewards, dones, _ = env.step(actions(1)[0])
    assert (observation.dtype, rewards.dtype, dones.dtype) == (np.float32, np.float32, bool)


def test_finished_terms_are_taken_once(env: InterceptVecEnv) -> None:
    env.reset()
    assert env.take_finished()[0].shape == (0, len(TERMS))
    returns = []
    for action in actions(45):
        _, _, dones, infos = env.step(action)
        returns += [infos[row]["episode"]["r"] for row in np.flatnonzero(dones)]
    finished, _ = env.take_finished()
    np.testing.assert_allclose(finished.sum(axis=1), returns, atol=1e-12)
    assert env.take_finished()[0].shape == (0, len(TERMS))


def test_goes_on_from_a_saved_state_as_if_nothing_had_happened(
    env: InterceptVecEnv, configure: Callable[..., Config]
) -> None:
    env.reset()
    for action in actions(15):
        env.step(action)
    saved = env.state_dict()
    short = configure("scenarios.reference.time_limit=2.0")
    other = InterceptVecEnv(InterceptVectorEnv(short, "reference", num_envs=8, seed=3))
    other.reset()
    other.load_state_dict(saved)
    for action in actions(40):
        for one, two in zip(env.step(action), other.step(action), strict=True):
            np.testing.assert_array_equal(one, two)


def test_stock_ppo_runs_on_it(env: InterceptVecEnv) -> None:
    model = PPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=1, device="cpu", seed=0)
    model.learn(512)
    assert model.num_timesteps == 512
    assert len(model.ep_info_buffer) >= 8


def test_members_of_a_batch_cannot_be_addressed_one_by_one(env: InterceptVecEnv) -> None:
    assert env.get_attr("num_envs") == [8] * 8
    assert env.get_attr("num_envs", [1, 2]) == [8, 8]
    assert env.env_is_wrapped(object) == [False] * 8
    assert env.render_mode is None
    with pytest.raises(AttributeError, match="one by one"):
        env.set_attr("num_envs", 9)
    with pytest.raises(AttributeError, match="no methods"):
        env.env_method("step")
    env.close()
