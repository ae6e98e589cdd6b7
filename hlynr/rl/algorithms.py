"""PPO and RecurrentPPO as this pipeline trains them: subclasses of the stock algorithms, not forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from stable_baselines3 import PPO

from hlynr.rl.network import SequencePolicy, policy_settings

if TYPE_CHECKING:
    from hlynr.config import Config, Schedule
    from hlynr.rl.adapter import InterceptVecEnv


class _Bounded:
    """What both algorithms share: log_std stays below its bound, and SB3's advice against GPUs is not repeated."""

    log_std_max: float = np.inf
    policy: Any
    logger: Any

    def train(self) -> None:
        """One policy update from the rollout buffer, then the bound.

        An entropy bonus raises an unbounded log_std for ever while the environment clips the actions; that is
        the collapse this pipeline exists to prevent.
        """
        super().train()  # type: ignore[misc]  # the algorithm this is mixed into
        with torch.no_grad():
            self.policy.log_std.clamp_(max=self.log_std_max)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "") -> None:
        """``device`` is the user's decision, and the trainer prints which device it took."""


class BoundedPPO(_Bounded, PPO):
    """Stock PPO with bounded log_std."""


class NormalisedRecurrentBuffer(RecurrentRolloutBuffer):
    """Normalises advantages over the rollout.

    The recurrent minibatches are contiguous slices of few environments; normalised slice by slice, the same
    advantage would count differently depending on its neighbours.
    """

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """As upstream, then zero mean and unit deviation over all (n_steps, n_envs)."""
        super().compute_returns_and_advantage(last_values, dones)
        self.advantages = (self.advantages - self.advantages.mean()) / (self.advantages.std() + 1e-8)


class BoundedRecurrentPPO(_Bounded, RecurrentPPO):
    """RecurrentPPO with bounded log_std, rollout-wide advantage normalisation and one LSTM call per minibatch."""

    def _setup_model(self) -> None:
        super()._setup_model()
        buffer = cast(RecurrentRolloutBuffer, self.rollout_buffer)
        self.rollout_buffer = NormalisedRecurrentBuffer(
            buffer.buffer_size,
            buffer.observation_space,
            buffer.action_space,
            buffer.hidden_state_shape,
            buffer.device,
            gamma=buffer.gamma,
            gae_lambda=buffer.gae_lambda,
            n_envs=buffer.n_envs,
        )


Algorithm = BoundedPPO | BoundedRecurrentPPO


def make(config: Config, env: InterceptVecEnv, device: str) -> Algorithm:
    """The configured algorithm, untrained and seeded."""
    train = config.train
    settings: dict[str, Any] = {
        "n_steps": train.n_steps,
        "batch_size": train.batch_size,
        "n_epochs": train.n_epochs,
        "learning_rate": _scheduled(train.learning_rate),
        "clip_range": _scheduled(train.clip_range),
        "ent_coef": train.ent_coef,
        "vf_coef": train.vf_coef,
        "gamma": train.gamma,
        "gae_lambda": train.gae_lambda,
        "max_grad_norm": train.max_grad_norm,
        "target_kl": train.target_kl,
        "policy_kwargs": policy_settings(train),
        "seed": config.train_seed,
        "device": device,
    }
    algorithm: Algorithm
    if train.algorithm == "recurrent_ppo":
        algorithm = BoundedRecurrentPPO(SequencePolicy, env, normalize_advantage=False, **settings)
    else:
        algorithm = BoundedPPO("MlpPolicy", env, **settings)
    algorithm.log_std_max = train.log_std_max
    return algorithm


def _scheduled(schedule: Schedule) -> Any:
    """SB3's convention: a function of the fraction of the budget that remains."""
    return lambda remaining: schedule.at(1.0 - remaining)
