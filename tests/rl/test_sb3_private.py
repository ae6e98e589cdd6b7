"""The private names of stable-baselines3 and sb3-contrib that hlynr uses exist, and are used in one module."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from support import ROOT

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.rl import algorithms, sb3_private
from hlynr.rl.adapter import InterceptVecEnv

VERSIONS = ", ".join(f"{name} {version(name)}" for name in ("stable-baselines3", "sb3-contrib"))
METHODS = {
    OnPolicyAlgorithm: ("_setup_learn", "_update_current_progress_remaining", "_maybe_recommend_cpu"),
    RecurrentActorCriticPolicy: ("_process_sequence",),
    RecurrentRolloutBuffer: ("_get_samples",),
}
ATTRIBUTES = ("_n_updates", "_last_obs", "_last_episode_starts", "_current_progress_remaining", "_total_timesteps")


@pytest.mark.parametrize("algorithm", ["ppo", "recurrent_ppo"])
def test_every_private_name_exists(tiny: Callable[..., Config], algorithm: str) -> None:
    """Each is listed with its reason in hlynr/rl/sb3_private.py, where another version's name would go."""
    config = tiny(f"train.algorithm={algorithm}", "train.n_envs=2", "train.n_steps=4", "train.batch_size=8")
    env = InterceptVecEnv(InterceptVectorEnv(config, "reference", num_envs=2, seed=1))
    model = algorithms.make(config, env, "cpu")
    sb3_private.set_up_learning(model, 8)
    missing = [
        f"{owner.__name__}.{name}" for owner, names in METHODS.items() for name in names if not hasattr(owner, name)
    ]
    recurrent = ("_last_lstm_states",) if isinstance(model, RecurrentPPO) else ()
    missing += [f"{type(model).__name__}.{name}" for name in (*ATTRIBUTES, *recurrent) if not hasattr(model, name)]
    assert not missing, f"{VERSIONS}: gone or renamed: {', '.join(missing)}"
    before = sb3_private.learner_state(model)
    sb3_private.set_up_learning(model, 8)
    model.num_timesteps = 4
    sb3_private.advance_schedules(model)
    assert sb3_private.progress_remaining(model) == 0.5, VERSIONS
    sb3_private.restore_learner(model, before)
    after = sb3_private.learner_state(model)
    assert after.keys() == before.keys()
    np.testing.assert_array_equal(after["last_obs"], before["last_obs"], VERSIONS)
    assert model.num_timesteps == 0
    for one, other in zip(after["lstm"] or [], before["lstm"] or [], strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True)), VERSIONS


def test_private_attributes_are_used_in_one_module() -> None:
    names = [*ATTRIBUTES, "_last_lstm_states", *METHODS[OnPolicyAlgorithm][:2]]
    private = re.compile(rf"\.({'|'.join(names)})\b")
    users = [path for path in (ROOT / "hlynr").rglob("*.py") if private.search(path.read_text(encoding="utf-8"))]
    assert [path.name for path in users] == ["sb3_private.py"]
