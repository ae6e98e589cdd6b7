"""Networks: SB3 policies built from settings, and run as the evaluation's policies."""

from typing import Any, cast

import numpy as np
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from hlynr.config.sections import Train
from hlynr.envs.environments import action_space, observation_space
from hlynr.evaluation.policy import Frame
from hlynr.rl.inference.actor import ACTIVATIONS, Actor, LstmState
from hlynr.rl.sequences import Sequences


class SequencePolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's recurrent policy with few LSTM calls per minibatch.

    Upstream loops over time in Python whenever an episode starts inside a minibatch. Its buffer already cuts
    sequences at episode starts, so a start can only be a sequence's first step, where `SequenceBuffer` clears the
    memory: the same numbers without the loop. Source: the upstream proposal, sb3-contrib pull request 118.
    """

    @staticmethod
    def _process_sequence(  # type: ignore[override]  # upstream declares one tensor and returns a pair
        features: torch.Tensor, lstm_states: LstmState | Sequences, episode_starts: torch.Tensor, lstm: nn.LSTM
    ) -> tuple[torch.Tensor, LstmState]:
        if isinstance(lstm_states, Sequences):
            return lstm_states.through(lstm, features), (lstm_states.hidden, lstm_states.cell)
        step: Any = RecurrentActorCriticPolicy._process_sequence(features, lstm_states, episode_starts, lstm)
        return cast(tuple[torch.Tensor, LstmState], step)


def policy_settings(train: Train) -> dict[str, Any]:
    """The keyword arguments from which SB3 builds the policy network."""
    settings: dict[str, Any] = {
        "net_arch": list(train.net_arch),
        "activation_fn": ACTIVATIONS[train.activation],
        "log_std_init": train.log_std_init,
    }
    if train.algorithm == "recurrent_ppo":
        settings["lstm_hidden_size"] = train.lstm_hidden_size
    return settings


def build(algorithm: str, settings: dict[str, Any]) -> ActorCriticPolicy:
    """An untrained policy network. Raises KeyError for an unknown algorithm."""
    policy_classes = {"ppo": ActorCriticPolicy, "recurrent_ppo": SequencePolicy}
    return policy_classes[algorithm](observation_space(), action_space(), lambda _: 0.0, **settings)


class NetworkPolicy:
    """A trained network as a `hlynr.evaluation.policy.Policy`: deterministic, its memory carried."""

    frame: Frame = "line_of_sight"

    def __init__(self, name: str, network: ActorCriticPolicy) -> None:
        self.name = name
        self._network = network
        lstm = network.lstm_actor if isinstance(network, RecurrentActorCriticPolicy) else None
        self._actor = Actor(lstm, network.mlp_extractor.policy_net, network.action_net)

    @property
    def recurrent(self) -> bool:
        """Whether it has a memory to carry."""
        return self._actor.lstm is not None

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of the noise of its training, (3,), before clipping."""
        log_std: torch.Tensor = self._network.log_std
        return np.asarray(log_std.detach().exp().cpu().numpy(), dtype=np.float64)

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `hlynr.evaluation.policy.Policy`; the state is None for an MLP."""
        mean, state = self.mean(observation, state, episode_start)
        return np.clip(mean, -1.0, 1.0), state

    def mean(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """Like `predict`, but before the actions are clipped to their box."""
        return self._actor.mean(observation, state, episode_start)
