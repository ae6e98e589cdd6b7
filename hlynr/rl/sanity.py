"""A brief training on the truth, which shows whether a policy class can learn the task at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from stable_baselines3.common.logger import Logger

from hlynr.envs.vector_env import InterceptVectorEnv
from hlynr.rl import algorithms
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.network import NetworkPolicy

if TYPE_CHECKING:
    from stable_baselines3.common.policies import ActorCriticPolicy

    from hlynr.config.config import Config


ROLLOUT = {"n_envs": 128, "n_steps": 32, "batch_size": 512}
"""Many updates from few timesteps: PPO and RecurrentPPO both reach 99 % on the truth after 200,000 timesteps (11 s
and 39 s), where the rollouts of a long training would make six updates of them and reach 6 %."""


def learn_on_truth(config: Config, timesteps: int) -> NetworkPolicy:
    """Train the configured algorithm on the truth for ``timesteps``, rounded up to whole rollouts, on the CPU.

    Nothing is monitored, saved or logged.
    """
    brief = config.train.model_copy(update={**ROLLOUT, "timesteps": timesteps})
    config = config.model_copy(update={"train": brief})
    torch.set_num_threads(config.train.torch_threads)
    world = InterceptVectorEnv(
        config, config.train.scenario, num_envs=config.train.n_envs, seed=config.train_seed, omniscient=True
    )
    model = algorithms.make(config, InterceptVecEnv(world), "cpu")
    model.set_logger(Logger(None, []))
    model.learn(timesteps)
    return NetworkPolicy(config.train.algorithm, cast("ActorCriticPolicy", model.policy))
