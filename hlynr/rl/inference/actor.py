"""The part of a policy network that chooses actions."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from .files import ACTIONS, WEIGHTS, BundleFiles, read_files

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}

BLOCK = 128
"""Rows per forward pass. Matrix products round differently at different heights, so a row's action would depend on
how many other episodes run beside it; with one height for all it does not."""

LstmState = tuple[torch.Tensor, torch.Tensor]


class Actor:
    """Hidden layers and output of a network, after an LSTM or none: deterministic, its memory carried."""

    def __init__(self, lstm: nn.LSTM | None, hidden: nn.Module, output: nn.Module) -> None:
        self.lstm, self._hidden, self._output = lstm, hidden, output

    def mean(
        self, observation: np.ndarray, state: LstmState | None, episode_start: np.ndarray
    ) -> tuple[np.ndarray, LstmState | None]:
        """Actions (N, 3) before they are clipped to the box, and the next state: None for an MLP."""
        rows, device = len(observation), next(self._output.parameters()).device
        padded = -rows % BLOCK
        inputs = torch.as_tensor(np.pad(observation, ((0, padded), (0, 0))), device=device)
        with torch.no_grad():
            if self.lstm is not None:
                starts = torch.as_tensor(np.pad(episode_start, (0, padded)), dtype=torch.float32, device=device)
                inputs, state = _remembered(self.lstm, inputs, state, starts)
            action = torch.cat([self._output(self._hidden(block)) for block in torch.split(inputs, BLOCK)])
        return action[:rows].cpu().numpy(), state


def _remembered(
    lstm: nn.LSTM, inputs: torch.Tensor, state: LstmState | None, starts: torch.Tensor
) -> tuple[torch.Tensor, LstmState]:
    """One timestep through the LSTM, whose memory is cleared where an episode starts."""
    if state is None:
        zeros = torch.zeros(lstm.num_layers, len(inputs), lstm.hidden_size, device=inputs.device)
        state = (zeros, zeros)
    kept = (1.0 - starts).view(1, -1, 1)
    outputs, hiddens, cells = [], [], []
    for first in range(0, len(inputs), BLOCK):
        rows = slice(first, first + BLOCK)
        memory = tuple((kept[:, rows] * part[:, rows]).contiguous() for part in state)
        output, (hidden, cell) = lstm(inputs[None, rows], memory)
        outputs.append(output[0])
        hiddens.append(hidden)
        cells.append(cell)
    return torch.cat(outputs), (torch.cat(hiddens, dim=1), torch.cat(cells, dim=1))


def load_weights(folder: Path, files: BundleFiles) -> dict[str, torch.Tensor]:
    """The weights of a bundle by name, on the CPU.

    Raises:
        ValueError: if they overlap, or are not all finite numbers; the message begins with ``folder``.
    """
    try:
        weights = load(files.weights)
    except SafetensorError as error:
        raise ValueError(f"{folder}: {WEIGHTS} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if broken := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{folder}: {WEIGHTS}: {broken[0]} is not finite")
    return weights


def load_actor(folder: Path) -> Actor:
    """The actor of a bundle, on the CPU.

    Raises:
        ValueError: if the bundle does not pass `read_files` or `load_weights`.
    """
    files = read_files(folder)
    return build_actor(files.manifest, load_weights(folder, files))


def build_actor(manifest: dict[str, Any], weights: dict[str, torch.Tensor]) -> Actor:
    """The actor of a manifest and weights that passed `read_files`."""
    network = manifest["network"]
    widths = [len(manifest["observation"]["channels"])]
    lstm = None
    if manifest["algorithm"] == "recurrent_ppo":
        lstm = nn.LSTM(widths[0], network["lstm_hidden_size"])
        widths = [lstm.hidden_size]
        _fill(lstm, weights, "lstm_actor.")
    widths += network["net_arch"]
    activation = ACTIVATIONS[network["activation"]]
    hidden = nn.Sequential(*(layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), activation())))
    output = nn.Linear(widths[-1], ACTIONS)
    _fill(hidden, weights, "mlp_extractor.policy_net.")
    _fill(output, weights, "action_net.")
    return Actor(lstm, hidden, output)


def _fill(module: nn.Module, weights: dict[str, torch.Tensor], prefix: str) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}, strict=True)
