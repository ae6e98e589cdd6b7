"""Networks: how settings become an SB3 policy, and how that policy flies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from hlynr.envs.vector_env import action_space, observation_space
from hlynr.evaluation.policy import Frame
from hlynr.rl.sequences import Sequences

if TYPE_CHECKING:
    from hlynr.config.sections import Train

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}

BLOCK = 128
"""Rows per forward pass at inference. Matrix products round differently at different heights, so a row's action
would depend on how many others fly beside it; with one height for all it does not."""

LstmState = tuple[torch.Tensor, torch.Tensor]


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

    @property
    def recurrent(self) -> bool:
        """Whether it has a memory to carry."""
        return isinstance(self._network, RecurrentActorCriticPolicy)

    @property
    def std(self) -> np.ndarray:
        """Of the noise with which it was trained, (3,), before clipping."""
        log_std: torch.Tensor = self._network.log_std
        return np.asarray(log_std.detach().exp().cpu().numpy(), dtype=np.float64)

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """See `hlynr.evaluation.policy.Policy`; the state is None for an MLP."""
        mean, state = self.mean(observation, state, episode_start)
        return np.clip(mean, -1.0, 1.0), state

    def mean(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        """Like `predict`, but what the network says before it is clipped to the box of actions."""
        rows = len(observation)
        padded = -rows % BLOCK
        seen = torch.as_tensor(np.pad(observation, ((0, padded), (0, 0))), device=self._network.device)
        self._network.set_training_mode(False)
        with torch.no_grad():
            if isinstance(self._network, RecurrentActorCriticPolicy):
                starts = torch.as_tensor(np.pad(episode_start, (0, padded)), dtype=torch.float32, device=seen.device)
                action, state = self._recurrent(self._network, seen, state, starts)
            else:
                action = torch.cat(
                    [self._network._predict(block, deterministic=True) for block in torch.split(seen, BLOCK)]
                )
        return action[:rows].cpu().numpy(), state

    @staticmethod
    def _recurrent(
        network: RecurrentActorCriticPolicy, seen: torch.Tensor, state: LstmState | None, starts: torch.Tensor
    ) -> tuple[torch.Tensor, LstmState]:
        layers, _, hidden = network.lstm_hidden_state_shape
        if state is None:
            zeros = torch.zeros(layers, len(seen), hidden, device=seen.device)
            state = (zeros, zeros)
        actions, hiddens, cells = [], [], []
        for first in range(0, len(seen), BLOCK):
            rows = slice(first, first + BLOCK)
            memory = (state[0][:, rows].contiguous(), state[1][:, rows].contiguous())
            action, (h, c) = network._predict(seen[rows], memory, starts[rows], deterministic=True)
            actions.append(action)
            hiddens.append(h)
            cells.append(c)
        return torch.cat(actions), (torch.cat(hiddens, dim=1), torch.cat(cells, dim=1))
