"""Diagnosing bundles: broken on purpose, named; sound, found sound; and only those that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import broken

from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.pipeline import diagnosis
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.training import Lineage
from hlynr.rl import bundle
from hlynr.rl.network import build, policy_settings
from hlynr.runtime.errors import InputError

LINEAGE = Lineage(
    id="test", created="2026-01-01T00:00:00+00:00", retraining=0, params_digest="0" * 64, mlflow_run_id="f00d" * 8
)
EPISODES = 25


@pytest.fixture(scope="module")
def config(tiny: Callable[..., Config]) -> Config:
    return tiny("train.algorithm=recurrent_ppo", "train.net_arch=[16]", "train.lstm_hidden_size=8")


@pytest.fixture(scope="module")
def untrained(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of an untrained network: it fails in a sound world, too, but for a reason further downstream."""
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    torch.manual_seed(1)
    weights = build(config.train.algorithm, policy_settings(config.train)).state_dict()
    bundle.save(folder, weights, config, LINEAGE, timesteps=0, success=0.0)
    return folder


@pytest.fixture
def examine(config: Config, untrained: Path, tmp_path: Path) -> Callable[..., Diagnosis]:
    def call(changed: Config = config, **options: Any) -> Diagnosis:
        project = Project(tmp_path, changed)
        given = {"name": "untrained", "episodes": EPISODES, "budget": 0} | options
        return diagnosis.examine(project, untrained, **given)

    return call


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the page costs more than the diagnosis."""
    monkeypatch.setattr("hlynr.report.diagnosis.write", lambda *_: None)


@pytest.mark.usefixtures("unwritten")
@pytest.mark.parametrize(
    ("world", "cause", "words"),
    [
        (broken.Unpredicting, "tracker", "The tracker does not predict."),
        (broken.Shifted, "frame", "The action frame is turned by 90 deg"),
        (None, "policy", "The policy has not learned what PN makes of the same observations."),
    ],
)
def test_the_right_cause_is_named(
    examine: Callable[..., Diagnosis], config: Config, world: Any, cause: str, words: str
) -> None:
    found = examine(world=world)
    assert (found.cause, found.subject, found.episodes) == (cause, "untrained", EPISODES)
    assert words in found.verdict
    assert found.seed == config.monitor.selection_seed  # no engagement of the judgement


@pytest.mark.usefixtures("unwritten")
def test_a_farming_reward_scale_is_named(examine: Callable[..., Diagnosis], config: Config) -> None:
    farming = config.reward.model_copy(update={"tracking": 20.0})  # the configuration itself refuses it
    found = examine(config.model_copy(update={"reward": farming}))
    assert found.cause == "reward"
    assert "The reward can be farmed: per-step terms outweigh the outcome." in found.verdict


def test_everything_is_asked_of_a_network(examine: Callable[..., Diagnosis], tmp_path: Path) -> None:
    found = examine(budget=8192, seed=5)
    assert found.seed == 5
    assert "learned_on_truth" in found.finding("omniscient").figures
    assert found.finding("noise").status != "skipped"
    assert found.finding("memory").status != "skipped"
    assert Diagnosis.read(tmp_path / "outputs" / "diagnose" / "diagnosis.json") == found
    assert (tmp_path / "outputs" / "diagnose" / "diagnosis.html").stat().st_size > 100_000


def test_a_bundle_of_another_scenario_is_rejected(examine: Callable[..., Diagnosis], config: Config) -> None:
    others = {name: scenario for name, scenario in config.scenarios.items() if name != "reference"}
    with pytest.raises(InputError, match="scenario reference, which this configuration does not have"):
        examine(config.model_copy(update={"scenarios": others}))
