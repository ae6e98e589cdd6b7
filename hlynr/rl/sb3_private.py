"""What hlynr reads and writes of stable-baselines3 and sb3-contrib beyond their public interface.

Both libraries keep a learner's place between two rollouts in attributes of their own, and neither can save or set it.
Three methods of theirs are overridden, too, each with its reason where that is done: `_process_sequence` in
`hlynr.rl.network`, `_get_samples` in `hlynr.rl.sequences`, `_maybe_recommend_cpu` in `hlynr.rl.algorithms`.
tests/rl/test_sb3_private.py names the libraries' versions when one of all these is gone.
"""

from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


def set_up_learning(model: OnPolicyAlgorithm, timesteps: int = 1) -> BaseCallback:
    """Create what rollouts need and reset the environment, as `learn` does before it trains; returns its callback."""
    _, callback = model._setup_learn(timesteps, reset_num_timesteps=True)
    return callback


def progress_remaining(model: OnPolicyAlgorithm) -> float:
    """The fraction of the budget that remains, from which SB3 computes its schedules."""
    return model._current_progress_remaining


def advance_schedules(model: OnPolicyAlgorithm) -> None:
    """Set `progress_remaining` as `learn` does after each rollout."""
    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)


def learner_state(model: OnPolicyAlgorithm) -> dict[str, Any]:
    """Tensors and plain values from which `restore_learner` continues between two rollouts."""
    memory = getattr(model, "_last_lstm_states", None)
    return {
        "num_timesteps": model.num_timesteps,
        "updates": model._n_updates,
        "last_obs": torch.from_numpy(np.asarray(model._last_obs)),
        "last_episode_starts": torch.from_numpy(np.asarray(model._last_episode_starts)),
        "lstm": None if memory is None else [list(memory.pi), list(memory.vf)],
        "episodes": list(model.ep_info_buffer or []),
        "successes": list(model.ep_success_buffer or []),
    }


def restore_learner(model: OnPolicyAlgorithm, saved: dict[str, Any]) -> None:
    """Restore what `learner_state` returned, after `set_up_learning`."""
    model.num_timesteps = saved["num_timesteps"]
    model._n_updates = saved["updates"]
    model._last_obs = saved["last_obs"].numpy()
    model._last_episode_starts = saved["last_episode_starts"].numpy()
    model.ep_info_buffer.extend(saved["episodes"])  # type: ignore[union-attr]  # made by set_up_learning
    model.ep_success_buffer.extend(saved["successes"])  # type: ignore[union-attr]
    if saved["lstm"] is not None:
        pi, vf = (tuple(part.to(model.device) for part in pair) for pair in saved["lstm"])
        model._last_lstm_states = RNNStates(pi, vf)  # type: ignore[attr-defined]  # only the recurrent one has it
