"""PPO and RecurrentPPO as this pipeline trains them: subclasses of the stock algorithms, not forks."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from stable_baselines3 import PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from hlynr.config import schedules
from hlynr.config.config import Config
from hlynr.config.schedules import ValueSchedule
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.network import SequencePolicy, policy_settings
from hlynr.rl.sb3_private import progress_remaining
from hlynr.rl.sequences import SequenceBuffer


class _Bounded:
    """Shared by both algorithms: bounds of log_std, an entropy schedule, no repeated advice against GPUs."""

    log_std_min: float = -np.inf
    log_std_max: float = np.inf
    entropy_schedule: Callable[[float], float] | None = None
    ent_coef: float
    policy: Any
    logger: Any

    def train(self) -> None:
        """One policy update from the rollout buffer, under the entropy coefficient of the moment, then the bounds.

        SB3 has schedules for the learning rate and the clip range, but a number for the entropy coefficient. An
        entropy bonus raises an unbounded log_std for ever while the environment clips the actions; that is the
        collapse this pipeline exists to prevent.
        """
        if self.entropy_schedule is not None:
            self.ent_coef = self.entropy_schedule(progress_remaining(cast(OnPolicyAlgorithm, self)))
        super().train()  # type: ignore[misc]  # the algorithm this is mixed into
        with torch.no_grad():
            self.policy.log_std.clamp_(self.log_std_min, self.log_std_max)
        self.logger.record("train/ent_coef", self.ent_coef)

    def _maybe_recommend_cpu(self, mlp_class_name: str = "") -> None:
        """Does nothing: ``device`` is the user's decision, and the training reports its device."""


class BoundedPPO(_Bounded, PPO):
    """Stock PPO with bounded log_std."""


class BoundedRecurrentPPO(_Bounded, RecurrentPPO):
    """RecurrentPPO with bounded log_std, rollout-wide advantage normalisation and unpadded minibatches."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        buffer = cast(RecurrentRolloutBuffer, self.rollout_buffer)
        self.rollout_buffer = SequenceBuffer(
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
    algorithm: Algorithm
    if config.train.algorithm == "recurrent_ppo":
        algorithm = BoundedRecurrentPPO(SequencePolicy, env, normalize_advantage=False, **settings(config, device))
        cast(SequenceBuffer, algorithm.rollout_buffer).chunk = config.train.lstm_chunk
    else:
        algorithm = BoundedPPO("MlpPolicy", env, **settings(config, device))
    train = config.train
    algorithm.log_std_min, algorithm.log_std_max = train.log_std_min, train.log_std_max
    algorithm.entropy_schedule = _scheduled(train.ent_coef, train.timesteps)
    return algorithm


_SAME = ("n_steps", "batch_size", "n_epochs", "vf_coef", "gamma", "gae_lambda", "max_grad_norm", "target_kl")
"""The settings that the stock algorithms know by the same names."""


def settings(config: Config, device: str) -> dict[str, Any]:
    """The keyword arguments of the stock algorithms."""
    train = config.train
    return {
        **{name: getattr(train, name) for name in _SAME},
        "learning_rate": _scheduled(train.learning_rate, train.timesteps),
        "clip_range": _scheduled(train.clip_range, train.timesteps),
        "ent_coef": schedules.at(train.ent_coef, 0, train.timesteps),
        "policy_kwargs": policy_settings(train),
        "seed": config.train_seed,
        "device": device,
    }


def _scheduled(schedule: ValueSchedule, budget: int) -> Callable[[float], float]:
    """SB3's convention: a function of the fraction of the budget that remains, negative where a rollout overshot."""
    return lambda remaining: schedules.at(schedule, round((1.0 - remaining) * budget), budget)
