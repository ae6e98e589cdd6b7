"""Fixtures for all tests. Nothing heavy is imported here, so that a light test stays light."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import ROOT, projects
from support.projects import RetrainedProject

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.runtime import scratch

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


# The longest files, so that none of them is still running on one process when the other has nothing left to do.
_FIRST = ("studies/tuning/test_tune.py", "service/test_nightly.py", "flows/", "service/", "cli/", "test_browser.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of `_FIRST`, in that order."""
    names = [f"{ROOT / 'tests' / name}" for name in _FIRST]

    def rank(item: pytest.Item) -> int:
        return next((place for place, name in enumerate(names) if str(item.path).startswith(name)), len(names))

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """A command that a test runs in this process leaves the next test neither its umask nor its temporary folder."""
    umask = os.umask(0o022)
    os.umask(umask)
    variables = {name: os.environ.get(name) for name in ("HLYNR_UMASK", "TMPDIR")}
    folder, owners = tempfile.tempdir, list(scratch._owners)
    yield
    os.umask(umask)
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = folder
    scratch._owners[:] = owners


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
