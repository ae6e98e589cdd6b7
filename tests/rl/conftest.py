"""What the tests of the training share."""

from collections.abc import Callable, Iterator

import pytest
import torch
from support.trainings import Finished, finish

from hlynr.config.config import Config


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks run best on one thread, and the tests share their cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=["ppo", "recurrent_ppo"])
def algorithm(request: pytest.FixtureRequest) -> str:
    """Each of the two algorithms."""
    return str(request.param)


@pytest.fixture(scope="session")
def ppo(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An uninterrupted training."""
    return finish(tiny(), tmp_path_factory.mktemp("ppo"))


@pytest.fixture(scope="session")
def recurrent_ppo(tiny: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """An uninterrupted recurrent training, shorter since it is slower."""
    recurrent = tiny("train.algorithm=recurrent_ppo", "train.timesteps=4096", "monitor.interval=1024")
    return finish(recurrent, tmp_path_factory.mktemp("recurrent"))


@pytest.fixture(scope="session")
def brief(tiny: Callable[..., Config]) -> Callable[..., Config]:
    """Four rollouts, for tests that need a training of their own."""
    return lambda *overrides: tiny("train.timesteps=4096", "monitor.interval=1024", *overrides)
