"""The benchmark: simulation, training and evaluation beside the stock libraries, in one process on one thread.

The contestants' rounds alternate, so that other load on the machine slows both; every speed is given per second of
wall time and per second of processor time. docs/benchmark.md documents every key.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.environments import InterceptVectorEnv
from hlynr.evaluation import judge
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.rollout import run_episodes
from hlynr.rl import bundle
from hlynr.rl.train import torch_threads
from hlynr.studies.bench.stock import RecurrentTraining, StockPPO, WholeTraining, recurrent_update_difference

Figures = dict[str, float | str]


@dataclass(frozen=True)
class Workload:
    """How much is measured; the defaults are the documented benchmark."""

    simulation_seconds: float = 2.0
    """Processor time per scenario [s]."""
    simulation_engagements: int = 512
    ppo_timesteps: int = 250_000
    """Of each of our trainings; more than the default interval of evaluations."""
    stock_envs: int = 16
    stock_steps: int = 2048
    recurrent: Mapping[str, Any] = field(default_factory=lambda: {"n_envs": 256})
    """Changes of the train section of params.yaml."""
    recurrent_rounds: int = 20
    recurrent_document: Mapping[str, Any] = field(
        default_factory=lambda: {
            # The seed document's environments, minibatch and strategy 1; all else as sb3-contrib has it by default.
            "n_envs": 16, "n_steps": 128, "batch_size": 128, "n_epochs": 10, "lstm_hidden_size": 256,
            "net_arch": [64, 64], "activation": "tanh", "log_std_init": 0.0, "gamma": 0.99, "ent_coef": 0.01,
            "learning_rate": {"start": 1e-4, "end": 1e-4}, "clip_range": {"start": 0.15, "end": 0.15},
            "max_grad_norm": 0.3,
        }
    )  # fmt: skip
    document_rounds: int = 2
    learning_episodes: int = 1000
    network_engagements: int = 100
    law_engagements: int = 10_000
    evaluation_rounds: int = 3


def run(config: Config, plan: Workload | None = None) -> Figures:
    """All figures by their documented keys; progress goes to standard error."""
    plan = plan or Workload()
    began = time.monotonic()
    figures = _circumstances(config)
    with torch_threads(1):
        figures |= _simulation(config, plan)
        figures |= _ppo(config, plan)
        figures |= _recurrent(config, plan)
        document = _recurrent_config(config, plan.recurrent_document, plan.document_rounds)
        figures |= _compare("recurrent_ppo_document", document, plan.document_rounds)[1]
        _say("one recurrent update in double precision")
        difference = recurrent_update_difference(_recurrent_config(config, plan.recurrent, 1))
        figures |= {f"recurrent_update_{name}_difference": value for name, value in difference.items()}
    figures["seconds"] = round(time.monotonic() - began, 1)
    return figures


def _circumstances(config: Config) -> Figures:
    versions = {f"{package.replace('-', '_')}_version": version for package, version in bundle.versions().items()}
    return {
        "params_digest": config.digest(),
        "python_version": platform.python_version(),
        **versions,
        "cores": os.cpu_count() or 1,
        "threads": 1,
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def _simulation(config: Config, plan: Workload) -> Figures:
    """Ticks per second of processor time, per scenario and of the slowest."""
    figures: Figures = {}
    for scenario in config.scenarios:
        _say(f"simulation, {scenario}")
        ticks = _ticks_per_second(config, scenario, plan)
        figures[f"simulation_{scenario}_ticks_per_second_per_core"] = _rounded(ticks)
    slowest = min(float(value) for value in figures.values())
    return {"simulation_ticks_per_second_per_core": slowest, **figures}


def _ticks_per_second(config: Config, scenario: str, plan: Workload) -> float:
    """Physics, reward, restarts and observations under proportional navigation, whose own time does not count."""
    env = InterceptVectorEnv(config, scenario, num_envs=plan.simulation_engagements, seed=config.train_seed)
    policy, unstarted = law("pn", config, scenario), np.zeros(env.num_envs, dtype=bool)
    observation, _ = env.reset()
    ticks, spent = 0, 0.0
    while spent < plan.simulation_seconds:
        action, _ = policy.predict(observation, None, unstarted)
        clock = env.batch.state["tick"]
        before, began = int(clock.sum()), time.process_time()
        env.batch.step(action)
        ticks += int(clock.sum()) - before
        env.restart(np.flatnonzero(env.batch.ended))
        observation = env.batch.observe()
        spent += time.process_time() - began
    return ticks / spent


def _ppo(config: Config, plan: Workload) -> Figures:
    """Our whole training, and stock PPO's rollout and update at the document's settings and at SB3's own."""
    ours = WholeTraining(_ppo_config(config, plan))
    document = StockPPO(config, plan.stock_envs, plan.stock_steps, batch_size=256, net_arch=(512, 512, 256))
    default = StockPPO(config, plan.stock_envs, plan.stock_steps, batch_size=64, net_arch=config.train.net_arch)
    figures = _interleaved(
        [
            ("ppo", ours.round), ("stock_ppo_document", document.round), ("ppo", ours.round),
            ("stock_ppo_default", default.round), ("ppo", ours.round),
        ]
    )  # fmt: skip
    figures |= _ratios("ppo_end_to_end", figures, "ppo", "stock_ppo_document")
    figures |= _ratios("ppo_same_network", figures, "ppo", "stock_ppo_default")
    assert ours.policy is not None
    pn = law("pn", config, config.train.scenario)
    figures["evaluation_network_engagements"] = plan.network_engagements
    figures["evaluation_mlp_seconds"] = _evaluation(config, plan, ours.policy, plan.network_engagements)
    figures["evaluation_law_engagements"] = plan.law_engagements
    return figures | {"evaluation_pn_seconds": _evaluation(config, plan, pn, plan.law_engagements)}


def _ppo_config(config: Config, plan: Workload) -> Config:
    """Shortened, with checkpoints at least as often as evaluations, and no alert that ends it."""
    timesteps = max(plan.ppo_timesteps, config.train.rollout)
    interval = min(config.monitor.interval, timesteps)
    shortened = {
        "algorithm": "ppo",
        "timesteps": timesteps,
        "device": "cpu",
        "torch_threads": 1,
        "checkpoint_interval": max(config.train.rollout, min(config.train.checkpoint_interval, interval)),
    }
    return _changed(config, train=shortened, monitor={"interval": interval, "stop_on": []})


def _recurrent(config: Config, plan: Workload) -> Figures:
    """Speed of both, and their success after the measured rounds."""
    chosen = _recurrent_config(config, plan.recurrent, plan.recurrent_rounds)
    (ours, stock), figures = _compare("recurrent_ppo", chosen, plan.recurrent_rounds)
    figures["recurrent_learning_timesteps"] = chosen.train.timesteps
    figures["recurrent_learning_episodes"] = plan.learning_episodes
    for name, training in (("ours", ours), ("stock", stock)):
        results = run_episodes(
            training.policy, chosen, chosen.train.scenario,
            seed=chosen.monitor.selection_seed, episodes=plan.learning_episodes, batch_size=1000,
        )  # fmt: skip
        figures[f"recurrent_learning_{name}"] = float(results.success.mean())
        figures[f"recurrent_learning_reward_{name}"] = _rounded(float(results.reward.mean()))
    return figures | {"evaluation_lstm_seconds": _evaluation(chosen, plan, ours.policy, plan.network_engagements)}


def _compare(name: str, config: Config, rounds: int) -> tuple[list[RecurrentTraining], Figures]:
    """Ours and sb3-contrib's RecurrentPPO, and their speeds."""
    ours, stock = both = [RecurrentTraining(config, stock=stock) for stock in (False, True)]
    figures = _interleaved([(name, ours.round), (f"stock_{name}", stock.round)] * rounds)
    return both, figures | _ratios(name, figures, name, f"stock_{name}")


def _recurrent_config(config: Config, chosen: Mapping[str, Any], rounds: int) -> Config:
    """Without the bound on the KL divergence, at which an update ends early."""
    train = {"algorithm": "recurrent_ppo", "device": "cpu", "target_kl": None, **chosen}
    n_envs, n_steps = (int(train.get(name, getattr(config.train, name))) for name in ("n_envs", "n_steps"))
    rollout = n_envs * n_steps
    intervals = {"timesteps": rounds * rollout, "checkpoint_interval": rounds * rollout}
    return _changed(config, train={**train, **intervals}, monitor={"interval": rollout})


def _changed(config: Config, **sections: Mapping[str, Any]) -> Config:
    """A validated copy."""
    tree = config.model_dump(mode="json")
    for name, changes in sections.items():
        tree[name] |= changes
    return Config.model_validate_json(json.dumps(tree))


def _interleaved(rounds: Sequence[tuple[str, Callable[[], int]]]) -> Figures:
    """Run the rounds in order; medians of each name's timesteps per second of wall and of processor time."""
    speeds: dict[str, list[float]] = {}
    for number, (name, work) in enumerate(rounds, start=1):
        _say(f"{name}, round {number} of {len(rounds)}")
        wall, processor = time.perf_counter(), time.process_time()
        timesteps = work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        speeds.setdefault(f"{name}_timesteps_per_second", []).append(timesteps / wall)
        speeds.setdefault(f"{name}_timesteps_per_cpu_second", []).append(timesteps / processor)
    return {name: _rounded(statistics.median(values)) for name, values in speeds.items()}


def _ratios(name: str, figures: Figures, ours: str, theirs: str) -> Figures:
    """Ours over theirs, of the reported figures."""
    units = {"ratio": "timesteps_per_second", "cpu_ratio": "timesteps_per_cpu_second"}
    return {
        f"{name}_{ratio}": _rounded(float(figures[f"{ours}_{unit}"]) / float(figures[f"{theirs}_{unit}"]))
        for ratio, unit in units.items()
    }


def _evaluation(config: Config, plan: Workload, policy: Policy, episodes: int) -> float:
    """Median wall time [s] of an evaluation on the report's scenario and seed, after one to warm up."""
    _say(f"evaluation, {policy.name}")
    seeds = judge.SeedSet(config.evaluation.scenario, config.report_seed, episodes)
    spent = []
    for _ in range(plan.evaluation_rounds + 1):
        began = time.perf_counter()
        judge.run_seed_set(policy, config, seeds)
        spent.append(time.perf_counter() - began)
    return _rounded(statistics.median(spent[1:]))


def _rounded(value: float) -> float:
    """Four significant digits: more is noise."""
    return float(f"{value:.4g}")


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)
