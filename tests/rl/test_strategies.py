"""The strategies of params.yaml: each of their numbers is found in the live learner, and each trains to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.statuses import stream
from support.trainings import finish

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.rl import algorithms, sb3_private
from hlynr.rl.adapter import InterceptVecEnv
from hlynr.rl.bundle import load_policy
from hlynr.rl.monitor import judge

Configure = Callable[..., Config]

RECURRENT = {"algorithm": "BoundedRecurrentPPO", "lstm": 256, "layers": [64, 64], "rollout": (16, 128), "batch": 128}
# By the progress of the training at which they hold, where they change.
NUMBERS: dict[str, dict[str, Any]] = {
    "stabilised-lstm": {
        **RECURRENT, "rate": {0.0: 1e-4, 1.0: 1e-4}, "clip": {0.0: 0.15, 1.0: 0.15},
        "entropy": {0.0: 0.01, 0.5: 0.005, 1.0: 0.0}, "gradient": 0.3,
    },
    "large-mlp": {
        "algorithm": "BoundedPPO", "layers": [512, 512, 256], "rollout": (16, 2048), "batch": 256,
        "rate": {0.0: 3e-4, 1.0: 3e-4},
    },
    "early-stopping": {"algorithm": "BoundedPPO", "budget": 300_000, "patience": 5, "min_delta": 0.01},
    "two-phase": {
        "algorithm": "BoundedPPO", "budget": 1_000_000,
        "rate": {0.0: 3e-4, 0.1999: 3e-4, 0.2: 5e-5, 1.0: 5e-5}, "clip": {0.0: 0.2, 0.1999: 0.2, 0.2: 0.1, 1.0: 0.1},
    },
    "original-lstm": {
        **RECURRENT, "rate": {0.0: 3e-4, 1.0: 3e-4}, "clip": {0.0: 0.2, 1.0: 0.2}, "entropy": {0.0: 0.02, 1.0: 0.02},
        "gradient": 0.5, "discount": 0.99, "log_std": (-20.0, 20.0),
    },
    "default-lstm": {"algorithm": "BoundedRecurrentPPO", "lstm": 64, "layers": [128, 128]},
    "precision-curriculum": {"algorithm": "BoundedPPO", "budget": 10_000_000, "radii": (150.0, 100.0, 50.0)},
}  # fmt: skip


def live(config: Config) -> algorithms.Algorithm:
    env = InterceptVecEnv(InterceptVectorEnv(config, config.train.scenario, num_envs=config.train.n_envs, seed=1))
    return algorithms.make(config, env, "cpu")


def found(config: Config, model: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """What the learner really has, in the terms of ``wanted``."""
    layers = [layer.out_features for layer in model.policy.mlp_extractor.policy_net if hasattr(layer, "out_features")]
    everything = {
        "algorithm": type(model).__name__,
        "layers": layers,
        "lstm": model.policy.lstm_actor.hidden_size if hasattr(model.policy, "lstm_actor") else None,
        "rollout": (model.n_envs, model.rollout_buffer.buffer_size),
        "batch": model.batch_size,
        "gradient": model.max_grad_norm,
        "discount": model.gamma,
        "log_std": (model.log_std_min, model.log_std_max),
        "budget": config.train.timesteps,
        "patience": config.monitor.plateau_patience,
        "min_delta": config.monitor.plateau_min_delta,
        "radii": config.train.curriculum.radii,
    }
    schedules = {"rate": model.lr_schedule, "clip": model.clip_range, "entropy": model.entropy_schedule}
    for name in wanted.keys() & schedules.keys():
        everything[name] = {progress: schedules[name](1.0 - progress) for progress in wanted[name]}
    return {name: everything[name] for name in wanted}


def test_every_strategy_has_its_numbers_here(config: Config) -> None:
    assert set(NUMBERS) == set(config.strategies)


@pytest.mark.parametrize("strategy", NUMBERS)
def test_the_live_learner_has_the_strategys_numbers(configure: Configure, strategy: str) -> None:
    config = configure(f"run.strategy={strategy}", "train.device=cpu")
    wanted = NUMBERS[strategy]
    numbers = found(config, live(config), wanted)
    for name, value in wanted.items():
        assert numbers[name] == (pytest.approx(value) if isinstance(value, dict) else value), name


# Two rollouts of the strategy's own size would take minutes: only what decides how long it takes is made smaller.
BRIEF = ("train.device=cpu", "monitor.episodes=100", "monitor.stop_on=[nan]", "train.checkpoint_interval=100000")
SMALLER: dict[str, tuple[str, ...]] = {
    "stabilised-lstm": ("train.timesteps=4096", "monitor.interval=2048", "train.n_epochs=1"),
    "large-mlp": ("train.timesteps=32768", "monitor.interval=32768", "train.n_epochs=1"),
    "early-stopping": ("train.timesteps=8192", "monitor.interval=4096"),
    "two-phase": ("train.timesteps=65536", "monitor.interval=32768", "train.n_epochs=1"),
    "original-lstm": ("train.timesteps=4096", "monitor.interval=2048", "train.n_epochs=1"),
    "default-lstm": ("train.timesteps=8192", "train.n_envs=64", "monitor.interval=4096", "train.n_epochs=1"),
    "precision-curriculum": ("train.timesteps=32768", "monitor.interval=32768", "train.n_epochs=1"),
}


@pytest.mark.parametrize("strategy", SMALLER)
def test_every_strategy_trains_to_its_end(configure: Configure, strategy: str, tmp_path: Path) -> None:
    config = configure(f"run.strategy={strategy}", *BRIEF, *SMALLER[strategy])
    run = finish(config, tmp_path)
    assert run.result.strategy == strategy
    assert run.result.timesteps == run.result.budget
    assert run.result.verdict.alerts == () or not run.result.verdict.failed
    policy = load_policy(tmp_path / "bundle")
    assert policy.recurrent == (config.train.algorithm == "recurrent_ppo")


def test_two_phases_show_in_the_logged_curves(configure: Configure, tmp_path: Path) -> None:
    """Across the boundary, in a training small enough to reach it."""
    small = ("train.n_envs=128", "train.n_steps=32", "train.batch_size=4096", "train.n_epochs=1")
    config = configure("run.strategy=two-phase", *BRIEF, *small, "train.timesteps=221184", "monitor.interval=200000")
    assert config.train.learning_rate == configure("run.strategy=two-phase").train.learning_rate
    logged = finish(config, tmp_path).witness.metrics_seen
    for name, before, after in (("train/learning_rate", 3e-4, 5e-5), ("train/clip_range", 0.2, 0.1)):
        # What an update was made under is logged with the next rollout.
        values = {timesteps - 4096: metrics[name] for timesteps, metrics in logged if name in metrics}
        assert values == {step: pytest.approx(before if step < 200_000 else after) for step in values}
        assert {step >= 200_000 for step in values} == {True, False}


def test_early_stopping_ends_a_training_that_gains_nothing(configure: Configure, tmp_path: Path) -> None:
    settings = configure("run.strategy=early-stopping").monitor
    assert judge(stream([0.5] * 6), settings).stopped
    assert not judge(stream([0.5] * 5), settings).stopped
    assert not judge(stream([0.5 + 0.011 * k for k in range(12)]), settings).stopped
    still = ("train.n_envs=32", "train.batch_size=1024", "train.learning_rate=1.0e-9", "monitor.interval=1024")
    config = configure("run.strategy=early-stopping", "train.device=cpu", *still, "monitor.abort_after=10000000")
    result = finish(config, tmp_path).result
    assert (result.verdict.status, result.verdict.stopped, result.timesteps) == ("plateau", True, 6 * 1024)


def test_nothing_bounds_the_originals_log_std_and_a_bound_holds_the_stabilised(configure: Configure) -> None:
    # With nothing in the buffer only the entropy bonus is left, and Adam makes a whole step of each minibatch.
    risen = 3.0 + 16 * 3e-4
    for strategy, expected in (("original-lstm", risen), ("stabilised-lstm", 0.0)):
        model = live(configure(f"run.strategy={strategy}", "train.device=cpu", "train.n_epochs=1"))
        sb3_private.set_up_learning(model)
        with torch.no_grad():
            model.policy.log_std.fill_(3.0)
        model.rollout_buffer.full = True
        model.logger.name_to_value.clear()
        model.train()
        torch.testing.assert_close(model.policy.log_std.detach(), torch.full((3,), expected), atol=1e-4, rtol=0)
