"""Recurrent minibatches: the cheapest LSTM calls, each timestep in its place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from hlynr.rl.sequences import Sequences, _grouped, arrange

CPU = torch.device("cpu")


@pytest.mark.parametrize("lengths", [[1], [5], [3, 1, 4, 1, 5, 9, 2, 6], [7, 7, 7], [64] * 5 + [1] * 40 + [30] * 7])
def test_each_timestep_gets_the_output_of_its_own_sequence(lengths: list[int]) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(4, 6)
    features = torch.randn(sum(lengths), 4)
    hidden, cell = torch.randn(2, 1, len(lengths), 6)
    found = Sequences(hidden, cell, arrange(np.array(lengths), CPU)).through(lstm, features)
    parts = zip(torch.split(features, lengths), hidden.split(1, dim=1), cell.split(1, dim=1), strict=True)
    wanted = torch.cat([lstm(part[:, None], memory)[0][:, 0] for part, *memory in parts])
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_two_layers_keep_their_memories() -> None:
    torch.manual_seed(1)
    lstm = nn.LSTM(4, 6, num_layers=2)
    features, memory = torch.randn(5, 4), torch.randn(2, 2, 2, 6)
    found = Sequences(*memory, arrange(np.array([2, 3]), CPU)).through(lstm, features)
    alone, _ = lstm(features[2:, None], (memory[0][:, 1:], memory[1][:, 1:]))
    torch.testing.assert_close(found[2:], alone[:, 0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_is_cheaper(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 65, size=8)
    order = np.argsort(-lengths, kind="stable")

    def cost(groups: list[np.ndarray]) -> float:
        return float(sum(lengths[group].max() * (4 + len(group)) for group in groups))

    every = [np.split(order, cuts) for count in range(8) for cuts in combinations(range(1, 8), count)]
    chosen = _grouped(order, lengths, 4)
    assert sorted(np.concatenate(chosen)) == list(range(8))
    assert cost(chosen) == min(map(cost, every))
