"""The benchmark with little to do: its keys are the documented ones, its ratios follow from its own figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support import ROOT

from hlynr.config.config import Config
from hlynr.rl.train import torch_threads
from hlynr.studies.bench import benchmark, stock

PLAN = benchmark.Workload(
    simulation_seconds=0.02,
    simulation_engagements=32,
    ppo_timesteps=4096,
    stock_envs=4,
    stock_steps=64,
    recurrent={"n_envs": 8, "n_steps": 32, "batch_size": 64, "n_epochs": 2, "lstm_hidden_size": 16},
    recurrent_rounds=3,
    recurrent_document={"n_envs": 2, "n_steps": 32, "batch_size": 32, "n_epochs": 1, "lstm_hidden_size": 16},
    document_rounds=2,
    learning_episodes=20,
    network_engagements=10,
    law_engagements=20,
    evaluation_rounds=1,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def measured(tiny: Callable[..., Config]) -> tuple[benchmark.Figures, Config]:
    config = tiny("train.net_arch=[16]")
    return benchmark.run(config, PLAN), config


@pytest.fixture(scope="module")
def figures(measured: tuple[benchmark.Figures, Config]) -> benchmark.Figures:
    return measured[0]


def test_every_key_is_documented_and_every_documented_key_is_there(figures: benchmark.Figures) -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8"), re.MULTILINE)
    documented = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert len(documented) == len(set(documented))
    assert set(documented) == set(figures)


def test_the_stock_settings_are_documented() -> None:
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    for name, value in benchmark.Workload().recurrent_document.items():
        shown = value["start"] if isinstance(value, dict) else value
        assert f"{name} {shown}" in text


@pytest.mark.parametrize(
    ("name", "ours", "theirs"),
    [
        ("ppo_end_to_end", "ppo", "stock_ppo_document"),
        ("ppo_same_network", "ppo", "stock_ppo_default"),
        ("recurrent_ppo", "recurrent_ppo", "stock_recurrent_ppo"),
        ("recurrent_ppo_document", "recurrent_ppo_document", "stock_recurrent_ppo_document"),
    ],
)
def test_a_ratio_is_that_of_two_reported_figures(figures: benchmark.Figures, name: str, ours: str, theirs: str) -> None:
    for ratio, unit in (("ratio", "timesteps_per_second"), ("cpu_ratio", "timesteps_per_cpu_second")):
        expected = float(figures[f"{ours}_{unit}"]) / float(figures[f"{theirs}_{unit}"])
        assert figures[f"{name}_{ratio}"] == pytest.approx(expected, rel=1e-3)


def test_what_compares_is_called_a_ratio(figures: benchmark.Figures) -> None:
    assert {key for key in figures if key.endswith("_ratio")} == {key for key in figures if "ratio" in key}
    assert len([key for key in figures if key.endswith("_ratio")]) == 8


def test_the_slowest_scenario_counts(figures: benchmark.Figures) -> None:
    each = [
        float(value) for key, value in figures.items() if re.fullmatch(r"simulation_\w+_ticks_per_second_per_core", key)
    ]
    assert len(each) == 3
    assert figures["simulation_ticks_per_second_per_core"] == min(each) > 0


def test_it_is_flat_json_and_no_figure_is_missing(figures: benchmark.Figures) -> None:
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert all(float(v) > 0 for k, v in figures.items() if k.endswith(("second", "per_core", "_seconds", "_ratio")))


def test_it_says_under_which_settings_it_was_measured(measured: tuple[benchmark.Figures, Config]) -> None:
    figures, config = measured
    assert figures["params_digest"] == config.digest()
    assert figures["recurrent_learning_timesteps"] == 3 * 8 * 32
    assert figures["evaluation_network_engagements"] == 10
    assert figures["evaluation_law_engagements"] == 20


def test_a_recurrent_update_is_that_of_upstream(figures: benchmark.Figures) -> None:
    """Losses, gradient and weights, after several minibatches; in double precision nothing else is left."""
    for name in ("loss", "gradient", "weight"):
        assert float(figures[f"recurrent_update_{name}_difference"]) < 1e-12


def test_a_wrong_recurrent_update_shows(tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """An episode's first step that remembers the episode before it."""
    from hlynr.rl.sequences import SequenceBuffer

    config = benchmark._recurrent_config(tiny("scenarios.reference.time_limit=2.5"), PLAN.recurrent, 1)
    assert stock.recurrent_update_difference(config)["weight"] < 1e-12
    original = SequenceBuffer._sequences

    def forgetful(self, hidden, cell, starts, layout):
        kept, self.episode_starts = self.episode_starts, np.zeros_like(self.episode_starts)
        sequences = original(self, hidden, cell, starts, layout)
        self.episode_starts = kept
        return sequences

    monkeypatch.setattr(SequenceBuffer, "_sequences", forgetful)
    assert stock.recurrent_update_difference(config)["weight"] > 1e-6


def test_our_training_is_measured_with_its_evaluations_and_checkpoints(config: Config) -> None:
    """At least as many per timestep as params.yaml asks for, and no verdict that would end it early."""
    shortened = benchmark._ppo_config(config, benchmark.Workload())
    assert shortened.monitor.interval <= config.monitor.interval <= shortened.train.timesteps
    assert shortened.train.checkpoint_interval <= config.train.checkpoint_interval
    assert shortened.train.checkpoint_interval <= shortened.train.timesteps
    assert not shortened.monitor.stop_on
    changed = {"timesteps", "checkpoint_interval", "device", "torch_threads", "algorithm"}
    assert shortened.train.model_dump(exclude=changed) == config.train.model_dump(exclude=changed)
