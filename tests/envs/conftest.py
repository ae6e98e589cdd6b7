"""What the tests of the environments share."""

from collections.abc import Callable

import pytest

from hlynr.config.config import Config


@pytest.fixture(scope="session")
def short(configure: Callable[..., Config]) -> Config:
    """Episodes of three seconds at most, so that many of them end."""
    return configure("scenarios.reference.time_limit=3.0")
