"""What environments are given: actions, seeds, options, and copies of them made in the middle of an episode."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, Error, ResetNeeded
from support.scenes import actions

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptEnv, InterceptVectorEnv

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
