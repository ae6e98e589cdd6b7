"""A policy with the noise of its training, and the brief training on the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hlynr.config.config import Config
from hlynr.envs.observation import SIZE
from hlynr.evaluation.recording import Setup, record
from hlynr.rl.diagnosis_policies import ROLLOUT, ExploringPolicy, learn_on_truth
from hlynr.rl.network import NetworkPolicy, build, policy_settings

SEEN = np.random.default_rng(0).uniform(-2.0, 2.0, (3000, SIZE)).astype(np.float32)


def network(config: Config) -> NetworkPolicy:
    torch.manual_seed(1)
    return NetworkPolicy(config.train.algorithm, build(config.train.algorithm, policy_settings(config.train)))


def actions_of(policy: Any, rows: slice = slice(None)) -> np.ndarray:
    seen = SEEN[rows]
    return np.asarray(policy.predict(seen, None, np.ones(len(seen), dtype=bool))[0])


def test_the_noise_is_that_of_training(tiny: Callable[..., Config]) -> None:
    policy = network(tiny("train.log_std_init=-2.0"))
    assert np.allclose(policy.std, np.exp(-2.0))
    noise = actions_of(ExploringPolicy(policy, 1)) - actions_of(policy)
    np.testing.assert_allclose(noise.std(axis=0), np.exp(-2.0), rtol=0.06)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=4 * np.exp(-2.0) / np.sqrt(len(SEEN)))
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.08


def test_it_is_the_same_in_every_batch_and_another_with_another_seed(
    tiny: Callable[..., Config], algorithm: str
) -> None:
    policy = network(tiny(f"train.algorithm={algorithm}"))
    whole = actions_of(ExploringPolicy(policy, 7))
    np.testing.assert_array_equal(actions_of(ExploringPolicy(policy, 7), slice(100, 137)), whole[100:137])
    alike = actions_of(ExploringPolicy(policy, 8)) == whole
    assert (alike <= (np.abs(whole) == 1.0)).all()  # only where both are clipped
    assert np.abs(whole).max() <= 1.0


def test_it_is_clipped_after_the_noise_as_in_training(tiny: Callable[..., Config]) -> None:
    """A mean far outside the box stays at the limit, whatever the noise."""
    policy = network(tiny())
    with torch.no_grad():
        policy._network.action_net.bias += torch.tensor([9.0, -9.0, 0.0])  # type: ignore[operator]
    actions = actions_of(ExploringPolicy(policy, 1))
    assert (actions[:, 0] == 1.0).all()
    assert (actions[:, 1] == -1.0).all()
    assert actions[:, 2].std() > 0.1


def test_the_same_class_learns_on_the_truth(tiny: Callable[..., Config], algorithm: str) -> None:
    config = tiny(f"train.algorithm={algorithm}")
    untrained = network(config)
    learned = learn_on_truth(config, 2 * ROLLOUT["n_envs"] * ROLLOUT["n_steps"])  # the last learns at a rate of 0
    assert learned.recurrent == untrained.recurrent == (algorithm == "recurrent_ppo")
    assert not np.array_equal(actions_of(learned), actions_of(untrained))
    assert 0.0 <= record(learned, Setup(config, "reference", 9, 20), omniscient=True).success_rate <= 1.0
