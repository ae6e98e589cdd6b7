"""The policies that a diagnosis compares with a bundle's: with the noise of its training, and trained on the truth."""

from typing import Any, cast

import numpy as np
import torch
from scipy.special import ndtri
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.evaluation.policy import Frame
from hlynr.rl import algorithms
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.network import NetworkPolicy
from hlynr.sim.rng import hashed_uniforms

ROLLOUT = {"n_envs": 128, "n_steps": 32, "batch_size": 512}
"""Many updates from few timesteps: PPO and RecurrentPPO both reach 99 % on the truth after 200,000 timesteps (11 s
and 39 s), where the rollouts of a long training would make six updates of them and reach 6 %."""


class ExploringPolicy:
    """Adds the network's Gaussian noise to its actions and clips them, as the environment does in training.

    The draw is a hash of the seed and the observation, so that it is the same in every batch.
    """

    frame: Frame = "line_of_sight"

    def __init__(self, policy: NetworkPolicy, seed: int) -> None:
        self.name = f"{policy.name} with its noise"
        self._policy, self._seed = policy, seed

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `hlynr.evaluation.policy.Policy`."""
        mean, state = self._policy.mean(observation, state, episode_start)
        seed = np.full((len(observation), 1), self._seed, dtype=np.float32)
        noise = ndtri(hashed_uniforms(np.concatenate([observation, seed], axis=1), mean.shape[1]))
        return np.clip(mean + self._policy.std * noise, -1.0, 1.0), state


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
