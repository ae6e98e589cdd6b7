"""Recurrent minibatches without padding: the numbers of sb3-contrib's buffer and policy in less time.

Upstream pads every sequence of a minibatch to the longest one, then computes everything on the padding too. With
episodes about as long as a rollout that is as much again as the data. Here a minibatch stays one row per timestep,
in upstream's order; only the LSTM sees padding, in groups of sequences of similar length.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import RecurrentRolloutBufferSamples, RNNStates
from torch import nn

_CALL_ROWS = {"cpu": 4, "cuda": 1024}
"""What a step of an LSTM call costs beside its rows, in rows (measured on the CPU for 64 to 256 hidden units). On a
GPU a step costs the same for any number of rows that fits a minibatch, so there one call takes all sequences."""


class CallLayout(NamedTuple):
    """Where the timesteps of a minibatch (B rows, sequence after sequence) go in its LSTM calls, and back."""

    groups: list[tuple[torch.Tensor, torch.Tensor]]
    """Per call: its sequences (R,), and the minibatch rows that they read at each step (L, R)."""
    back: torch.Tensor
    """(B,) the row of the concatenated outputs that belongs to each minibatch row."""


class Sequences(NamedTuple):
    """In place of ``(hidden, cell)`` for a minibatch: memory (layers, S, H) at the sequences' starts."""

    hidden: torch.Tensor
    cell: torch.Tensor
    layout: CallLayout

    def through(self, lstm: nn.LSTM, features: torch.Tensor) -> torch.Tensor:
        """The LSTM's outputs (B, H) for ``features`` (B, F)."""
        outputs = []
        for chosen, rows in self.layout.groups:
            output, _ = lstm(features[rows], (self.hidden[:, chosen], self.cell[:, chosen]))
            outputs.append(output.flatten(0, 1))
        return torch.cat(outputs).index_select(0, self.layout.back)


def arrange(lengths: np.ndarray, device: torch.device) -> CallLayout:
    """The cheapest LSTM calls for sequences of ``lengths`` (S,) that lie one behind the other."""
    firsts = np.cumsum(lengths) - lengths
    order = np.argsort(-lengths, kind="stable")
    groups, back, offset = [], np.empty(lengths.sum(), dtype=np.int64), 0
    for chosen in _grouped(order, lengths, _CALL_ROWS.get(device.type, 1024)):
        steps = np.arange(lengths[chosen].max())[:, None]
        rows = firsts[chosen] + np.minimum(steps, lengths[chosen] - 1)  # padding repeats a row, which is not read
        real = steps < lengths[chosen]
        back[rows[real]] = offset + np.flatnonzero(real)
        offset += rows.size
        groups.append((torch.from_numpy(chosen).to(device), torch.from_numpy(rows).to(device)))
    return CallLayout(groups, torch.from_numpy(back).to(device))


def _grouped(order: np.ndarray, lengths: np.ndarray, call_rows: int) -> list[np.ndarray]:
    """Cut ``order`` (longest first) where the sum over groups of longest * (call_rows + sequences) is least."""
    longest, count = lengths[order], len(order)
    cost, cut = np.zeros(count + 1), np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        options = cost[:end] + longest[:end] * (call_rows + end - np.arange(end))
        cut[end] = options.argmin()
        cost[end] = options[cut[end]]
    groups, end = [], count
    while end:
        groups.append(order[cut[end] : end])
        end = int(cut[end])
    return groups


class SequenceBuffer(RecurrentRolloutBuffer):
    """Upstream's buffer with minibatches for `Sequences`, and advantages normalised over the rollout.

    The recurrent minibatches are contiguous slices of few environments; normalised slice by slice, the same
    advantage would count differently depending on its neighbours.
    """

    normalise = True
    chunk: int | None = None
    """Timesteps after which a sequence ends although its episode goes on, its gradient too; None: only at its end."""

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """As upstream, then zero mean and unit deviation over all (n_steps, n_envs)."""
        super().compute_returns_and_advantage(last_values, dones)
        if self.normalise:
            self.advantages = (self.advantages - self.advantages.mean()) / (self.advantages.std() + 1e-8)

    def _get_samples(  # type: ignore[override]  # as upstream's, which is at odds with its own base class
        self, batch_inds: np.ndarray, env_change: np.ndarray, env: Any = None
    ) -> RecurrentRolloutBufferSamples:
        """The timesteps that upstream would return for ``batch_inds`` (B,), unpadded: the mask is all ones."""
        begins = ((self.episode_starts[batch_inds] + env_change[batch_inds]) > 0).flatten()
        begins[0] = True
        if self.chunk is not None:
            begins |= batch_inds % self.buffer_size % self.chunk == 0  # rows lie environment after environment
        firsts = np.flatnonzero(begins)
        layout = arrange(np.diff(firsts, append=len(batch_inds)), self.device)
        starts = batch_inds[firsts]
        pi = self._sequences(self.hidden_states_pi, self.cell_states_pi, starts, layout)
        vf = self._sequences(self.hidden_states_vf, self.cell_states_vf, starts, layout)
        return RecurrentRolloutBufferSamples(
            observations=self.to_torch(self.observations[batch_inds]),
            actions=self.to_torch(self.actions[batch_inds]),
            old_values=self.to_torch(self.values[batch_inds].flatten()),
            old_log_prob=self.to_torch(self.log_probs[batch_inds].flatten()),
            advantages=self.to_torch(self.advantages[batch_inds].flatten()),
            returns=self.to_torch(self.returns[batch_inds].flatten()),
            lstm_states=RNNStates(cast(Any, pi), cast(Any, vf)),  # handed to the policy as they are
            episode_starts=self.to_torch(self.episode_starts[batch_inds].flatten()),
            mask=torch.ones(len(batch_inds), device=self.device),
        )

    def _sequences(self, hidden: np.ndarray, cell: np.ndarray, starts: np.ndarray, layout: CallLayout) -> Sequences:
        """Memory (layers, S, H) before the rows ``starts`` (S,), cleared where an episode starts."""
        keep = (1.0 - self.episode_starts[starts])[:, :, None]
        before, cell_before = (np.swapaxes(keep * memory[starts], 0, 1) for memory in (hidden, cell))
        return Sequences(self.to_torch(before), self.to_torch(cell_before), layout)
