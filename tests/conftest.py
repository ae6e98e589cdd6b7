"""Fixtures for all tests. Nothing heavy is imported here, so that a light test stays light."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from support import ROOT, projects
from support.projects import RetrainedProject

from hlynr.config import params
from hlynr.config.config import Config

# A shell's background jobs ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A training of eight rollouts of 1,024 timesteps, evaluated after every second one.
_TINY = (
    "train.device=cpu",
    "train.timesteps=8192",
    "train.n_envs=32",
    "train.n_steps=32",
    "train.batch_size=512",
    "train.n_epochs=3",
    "train.checkpoint_interval=1024",
    "monitor.interval=2048",
    "monitor.episodes=100",
    "monitor.stop_on=[nan]",
)


@pytest.fixture(scope="session")
def tree() -> dict[str, Any]:
    """params.yaml as it is read, with every scenario resolved, so that an override reaches what it inherits."""
    return params.load(ROOT / "params.yaml").model_dump(mode="json")


@pytest.fixture(scope="session")
def configure(tree: dict[str, Any]) -> Callable[..., Config]:
    """params.yaml with ``section.key=value`` overrides."""
    return lambda *overrides: params.parse(tree, overrides)


@pytest.fixture(scope="session")
def config(configure: Callable[..., Config]) -> Config:
    """params.yaml as it is."""
    return configure()


@pytest.fixture(scope="session")
def tiny(configure: Callable[..., Config]) -> Callable[..., Config]:
    """params.yaml with a training of seconds, and further overrides."""
    return lambda *overrides: configure(*_TINY, *overrides)


@pytest.fixture(scope="session")
def retraining(tmp_path_factory: pytest.TempPathFactory) -> RetrainedProject:
    """A project after one whole `hlynr retrain` with a server of its own; its gate lets a beginner through."""
    return projects.retrained(tmp_path_factory.mktemp("retraining") / "project")
