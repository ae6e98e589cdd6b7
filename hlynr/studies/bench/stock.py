"""Our trainings and those of the stock libraries, one thread each, on the CPU."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

import hlynr.envs  # noqa: F401  (registers the single environment)
from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.records.training import Lineage
from hlynr.rl import algorithms, bundle, sb3_private
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.network import NetworkPolicy
from hlynr.rl.sequences import SequenceBuffer
from hlynr.rl.train import train

_LOSSES = ("train/loss", "train/policy_gradient_loss", "train/value_loss")


class WholeTraining:
    """Our training as `hlynr train` runs it: evaluations, checkpoints, bundle, metrics and all."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.policy: NetworkPolicy | None = None
        """Of the last round's bundle."""

    def round(self) -> int:
        """One whole training; returns its timesteps.

        Raises:
            KeyboardInterrupt: if it was interrupted, which ends a training without an error.
        """
        digest = self._config.digest()
        lineage = Lineage(id="benchmark", created="", retraining=self._config.run.retraining, params_digest=digest)
        with tempfile.TemporaryDirectory(prefix="hlynr-bench-") as folder:
            result = train(self._config, Path(folder) / "train", lineage, resume=False)
            self.policy = bundle.load_policy(Path(result.bundle))
        if result.interrupted:
            raise KeyboardInterrupt
        return result.timesteps


class StockPPO:
    """stable-baselines3's PPO on a `DummyVecEnv` of monitored single environments, as its documentation has it."""

    def __init__(self, config: Config, envs: int, steps: int, batch_size: int, net_arch: Sequence[int]) -> None:
        def single() -> gymnasium.Env[Any, Any]:
            return Monitor(gymnasium.make("Hlynr/Intercept-v0", config=config, scenario=config.train.scenario))

        self._model = PPO(
            "MlpPolicy", DummyVecEnv([single] * envs), n_steps=steps, n_epochs=10, learning_rate=3e-4, clip_range=0.2,
            batch_size=batch_size, policy_kwargs={"net_arch": list(net_arch)}, seed=config.train_seed, device="cpu",
        )  # fmt: skip

    def round(self) -> int:
        """One rollout and its update; returns its timesteps."""
        timesteps = self._model.n_steps * self._model.n_envs
        self._model.learn(timesteps, reset_num_timesteps=False)
        return timesteps


class RecurrentTraining:
    """RecurrentPPO on our batched environment, ours or sb3-contrib's, one rollout and update at a time."""

    def __init__(self, config: Config, *, stock: bool) -> None:
        chosen = config.train
        batch = InterceptVectorEnv(config, chosen.scenario, num_envs=chosen.n_envs, seed=config.train_seed)
        self.env = InterceptVecEnv(batch)
        self.model: Any = (
            RecurrentPPO("MlpLstmPolicy", self.env, **algorithms.settings(config, "cpu"))
            if stock
            else algorithms.make(config, self.env, "cpu")
        )
        self._callback = sb3_private.set_up_learning(self.model, chosen.timesteps)

    def collect(self) -> None:
        """One rollout."""
        self.model.collect_rollouts(self.env, self._callback, self.model.rollout_buffer, self.model.n_steps)
        self.env.take_finished()

    def round(self) -> int:
        """One rollout and its update; returns its timesteps."""
        self.collect()
        sb3_private.advance_schedules(self.model)
        self.model.train()
        return int(self.model.n_steps * self.model.n_envs)

    @property
    def policy(self) -> NetworkPolicy:
        """As it is now, for an evaluation."""
        return NetworkPolicy("recurrent_ppo", self.model.policy)


def recurrent_update_difference(config: Config) -> dict[str, float]:
    """How far one ``train()`` from the same rollout and weights differs between ours and sb3-contrib's.

    In double precision: in single precision Adam's first steps turn the rounding of a vanishing gradient into steps of
    the size of the learning rate. Neither side normalises advantages: ours does it over the rollout, upstream over the
    minibatch.

    Returns:
        ``loss``: largest absolute difference of the logged losses; ``gradient``: of the last minibatch, norm of the
        difference over norm; ``weight``: largest absolute difference of any weight after the update.
    """
    ours, stock = RecurrentTraining(config, stock=False), RecurrentTraining(config, stock=True)
    stock.model.policy.load_state_dict(ours.model.policy.state_dict())
    stock.model.normalize_advantage = False
    cast(SequenceBuffer, ours.model.rollout_buffer).normalise = False
    ours.collect()
    for name, value in vars(ours.model.rollout_buffer).items():
        if isinstance(value, np.ndarray):
            setattr(ours.model.rollout_buffer, name, value.astype(np.float64))
            setattr(stock.model.rollout_buffer, name, value.astype(np.float64))
    stock.model.rollout_buffer.full = True
    for training in (ours, stock):
        _in_double_precision(training.model.policy)
        np.random.seed(0)  # noqa: NPY002  (the buffers draw where to cut the rollout)
        training.model.train()
    models = (ours.model, stock.model)
    losses = [np.array([model.logger.name_to_value[name] for name in _LOSSES]) for model in models]
    gradients = [torch.cat([p.grad.flatten() for p in model.policy.parameters()]) for model in models]
    weights = [torch.cat([p.flatten() for p in model.policy.parameters()]) for model in models]
    return {
        "loss": float(np.abs(losses[0] - losses[1]).max()),
        "gradient": float((gradients[0] - gradients[1]).norm() / gradients[1].norm()),
        "weight": float((weights[0] - weights[1]).detach().abs().max()),
    }


def _in_double_precision(policy: ActorCriticPolicy) -> None:
    policy.double()
    # SB3 turns every observation into single precision.
    policy.features_extractor.register_forward_hook(lambda module, observation, features: features.double())
