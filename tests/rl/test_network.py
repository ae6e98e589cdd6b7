"""Networks: the recurrent policy equals upstream's, and an action does not depend on the rest of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.environments import InterceptVectorEnv, action_space, observation_space
from hlynr.evaluation.rollout import run_episodes
from hlynr.rl import algorithms, sb3_private
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.algorithms import BoundedRecurrentPPO
from hlynr.rl.network import NetworkPolicy, SequencePolicy, build, policy_settings
from hlynr.rl.sequences import SequenceBuffer

Tiny = Callable[..., Config]


def network_policy(config: Config, seed: int = 5) -> NetworkPolicy:
    """Untrained, with weights large enough that its actions differ from each other."""
    torch.manual_seed(seed)
    network = build(config.train.algorithm, policy_settings(config.train))
    with torch.no_grad():
        network.action_net.weight.mul_(100.0)
    return NetworkPolicy(config.train.algorithm, network)


def observations(config: Config, count: int, timesteps: int) -> np.ndarray:
    """(T, N, D) of unsteered engagements."""
    batch = EngagementBatch(config, "reference", count=count, seed=6)
    batch.start(np.arange(count), np.arange(count))
    seen = []
    for _ in range(timesteps):
        seen.append(batch.observe())
        batch.step(np.zeros((count, 3)))
    return np.stack(seen)


# The recurrent policy against upstream's


@pytest.fixture(scope="module")
def collected(tiny: Tiny) -> BoundedRecurrentPPO:
    """RecurrentPPO after one rollout in which every environment ends several episodes."""
    config = tiny(
        "train.algorithm=recurrent_ppo", "train.n_envs=8", "train.n_steps=64", "train.batch_size=128",
        "train.lstm_hidden_size=32", "train.net_arch=[32]", "train.activation=elu",
        "scenarios.reference.time_limit=2.5",
    )  # fmt: skip
    env = InterceptVecEnv(InterceptVectorEnv(config, "reference", num_envs=8, seed=1))
    model = algorithms.make(config, env, "cpu")
    assert isinstance(model, BoundedRecurrentPPO)
    sb3_private.set_up_learning(model)
    model.collect_rollouts(env, _Nothing(model), model.rollout_buffer, 64)
    starts = model.rollout_buffer.episode_starts
    assert starts[1:].sum() >= 16
    return model


class _Nothing(BaseCallback):
    def __init__(self, model: BoundedRecurrentPPO) -> None:
        super().__init__()
        self.init_callback(model)

    def _on_step(self) -> bool:
        return True


@pytest.fixture(scope="module")
def upstream(collected: BoundedRecurrentPPO) -> RecurrentActorCriticPolicy:
    """sb3-contrib's own class with the same weights."""
    stock = RecurrentActorCriticPolicy(
        observation_space(), action_space(), lambda _: 0.0, net_arch=[32], activation_fn=nn.ELU, lstm_hidden_size=32
    )
    stock.load_state_dict(collected.policy.state_dict(), strict=True)
    return stock


@pytest.fixture(scope="module")
def upstream_buffer(collected: BoundedRecurrentPPO) -> RecurrentRolloutBuffer:
    """sb3-contrib's own buffer with the same rollout."""
    ours = collected.rollout_buffer
    stock = RecurrentRolloutBuffer(
        ours.buffer_size, ours.observation_space, ours.action_space, ours.hidden_state_shape, n_envs=ours.n_envs
    )
    assert not ours.generator_ready  # later its arrays lie in another order
    for name, value in vars(ours).items():
        if isinstance(value, np.ndarray):
            setattr(stock, name, value.copy())
    stock.full = True
    return stock


def both(
    ours: RecurrentRolloutBuffer, theirs: RecurrentRolloutBuffer, seed: int, size: int
) -> Iterator[tuple[Any, Any]]:
    """The minibatches of both buffers, cut at the same places."""
    minibatches = []
    for buffer in (ours, theirs):
        np.random.seed(seed)  # noqa: NPY002  (the buffers draw from it)
        minibatches.append(list(buffer.get(size)))
    yield from zip(*minibatches, strict=True)


def evaluated(policy: RecurrentActorCriticPolicy, data: Any) -> list[torch.Tensor]:
    """Values, log probabilities and entropies (B,) without padding."""
    results = policy.evaluate_actions(data.observations, data.actions, data.lstm_states, data.episode_starts)
    return [result.flatten()[data.mask > 1e-8] for result in results]


def test_evaluates_minibatches_as_upstream_does(
    collected: BoundedRecurrentPPO, upstream: RecurrentActorCriticPolicy, upstream_buffer: RecurrentRolloutBuffer
) -> None:
    assert type(collected.policy) is SequencePolicy
    starts = 0
    for seed in range(3):  # each cuts the rollout at another place
        for ours, theirs in both(collected.rollout_buffer, upstream_buffer, seed, 128):
            here, there = ours.mask > 1e-8, theirs.mask > 1e-8
            for name in ("observations", "actions", "old_values", "old_log_prob", "advantages", "returns"):
                torch.testing.assert_close(getattr(ours, name)[here], getattr(theirs, name)[there], rtol=0, atol=0)
            starts += int(theirs.episode_starts[there].sum())
            for found, wanted in zip(evaluated(collected.policy, ours), evaluated(upstream, theirs), strict=True):
                torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    assert starts > 30


def test_has_the_gradients_of_upstream(
    collected: BoundedRecurrentPPO, upstream: RecurrentActorCriticPolicy, upstream_buffer: RecurrentRolloutBuffer
) -> None:
    minibatches = next(both(collected.rollout_buffer, upstream_buffer, 7, 256))
    gradients = []
    for policy, data in zip((collected.policy, upstream), minibatches, strict=True):
        policy.zero_grad()
        values, log_prob, entropy = evaluated(policy, data)
        (values.square().mean() - log_prob.mean() - 0.1 * entropy.mean()).backward()
        gradients.append({name: weight.grad for name, weight in policy.named_parameters()})
        policy.zero_grad()
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4, msg=name)


def test_chunks_cut_the_gradient_and_nothing_else(collected: BoundedRecurrentPPO) -> None:
    """The memory at a chunk's start is the rollout's own, so the same weights say the same; see train.lstm_chunk."""
    buffer, policy, found, longest = cast(SequenceBuffer, collected.rollout_buffer), collected.policy, [], []
    for chunk in (None, 16):
        buffer.chunk = chunk
        np.random.seed(7)  # noqa: NPY002  (where the buffer cuts the rollout)
        data = next(iter(buffer.get(256)))
        policy.zero_grad()
        values, log_prob, _ = evaluated(policy, data)
        (values.square().mean() - log_prob.mean()).backward()
        gradient = policy.lstm_actor.weight_hh_l0.grad
        assert gradient is not None
        found.append((values.detach(), log_prob.detach(), gradient.clone()))
        longest.append(max(rows.shape[0] for _, rows in data.lstm_states.pi.layout.groups))
    buffer.chunk = None
    policy.zero_grad()
    assert longest[1] == 16 < longest[0]
    torch.testing.assert_close(found[0][:2], found[1][:2], atol=1e-5, rtol=1e-5)
    assert (found[0][2] - found[1][2]).norm() > 1e-3 * found[0][2].norm()


def test_steps_as_upstream_does(collected: BoundedRecurrentPPO, upstream: RecurrentActorCriticPolicy) -> None:
    """One timestep at a time, some rows starting an episode, the memory handed on."""
    generator = torch.Generator().manual_seed(0)
    ours = theirs = collected._last_lstm_states
    for _ in range(5):
        seen = torch.randn(8, observation_space().shape[0], generator=generator)
        starts = (torch.rand(8, generator=generator) < 0.4).float()
        *found, ours = collected.policy(seen, ours, starts, deterministic=True)
        *wanted, theirs = upstream(seen, theirs, starts, deterministic=True)
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(list(ours.pi), list(theirs.pi), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(list(ours.vf), list(theirs.vf), atol=1e-6, rtol=1e-6)


def test_recurrent_advantages_are_normalised_over_the_rollout(collected: BoundedRecurrentPPO) -> None:
    advantages = collected.rollout_buffer.advantages
    assert float(advantages.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(advantages.std()) == pytest.approx(1.0, abs=1e-4)
    assert not collected.normalize_advantage


# Flying


@pytest.mark.parametrize("count", [1, 7, 128, 300])
def test_an_action_does_not_depend_on_the_batch(tiny: Tiny, algorithm: str, count: int) -> None:
    config = tiny(f"train.algorithm={algorithm}")
    policy = network_policy(config)
    seen = observations(config, 300, 4)
    chosen = np.random.default_rng(count).permutation(300)[:count]
    memory = part = None
    for k, observation in enumerate(seen):
        start = np.full(300, k == 0)
        whole, memory = policy.predict(observation, memory, start)
        some, part = policy.predict(observation[chosen], part, start[chosen])
        np.testing.assert_array_equal(some, whole[chosen])
    assert np.ptp(whole, axis=0).min() > 0.1


def test_episodes_do_not_depend_on_the_batch(tiny: Tiny, algorithm: str) -> None:
    config = tiny(f"train.algorithm={algorithm}")
    policy = network_policy(config)
    one, other = (
        run_episodes(policy, config, "reference", seed=9, episodes=150, batch_size=size).reward for size in (150, 40)
    )
    np.testing.assert_array_equal(one, other)


def test_actions_stay_in_their_box(tiny: Tiny, algorithm: str) -> None:
    config = tiny(f"train.algorithm={algorithm}")
    action, _ = network_policy(config).predict(observations(config, 50, 1)[0], None, np.ones(50, dtype=bool))
    assert action.shape == (50, 3)
    assert np.abs(action).max() <= 1.0


def test_a_recurrent_policy_remembers(tiny: Tiny) -> None:
    """The seed's pipeline evaluated a recurrent policy without its memory; here that would change every action."""
    config = tiny("train.algorithm=recurrent_ppo")
    policy = network_policy(config)
    seen = observations(config, 20, 6)
    memory = None
    for k, observation in enumerate(seen):
        action, memory = policy.predict(observation, memory, np.full(20, k == 0))
    forgetful, _ = policy.predict(seen[-1], None, np.ones(20, dtype=bool))
    assert (np.abs(action - forgetful).max(axis=1) > 1e-4).all()


def test_an_episode_start_clears_the_memory_of_its_row_only(tiny: Tiny) -> None:
    config = tiny("train.algorithm=recurrent_ppo")
    policy = network_policy(config)
    seen = observations(config, 20, 6)
    memory = None
    for k, observation in enumerate(seen[:-1]):
        _, memory = policy.predict(observation, memory, np.full(20, k == 0))
    kept, _ = policy.predict(seen[-1], memory, np.zeros(20, dtype=bool))
    fresh, _ = policy.predict(seen[-1], None, np.ones(20, dtype=bool))
    starts = np.arange(20) % 3 == 0
    mixed, _ = policy.predict(seen[-1], memory, starts)
    np.testing.assert_array_equal(mixed, np.where(starts[:, None], fresh, kept))


def test_an_mlp_has_no_memory(tiny: Tiny) -> None:
    config = tiny()
    action, memory = network_policy(config).predict(observations(config, 5, 1)[0], None, np.ones(5, dtype=bool))
    assert memory is None
    assert len(action) == 5
