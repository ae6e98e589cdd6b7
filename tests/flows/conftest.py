"""A Prefect server for the flow tests: it takes seconds to start, so there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def api() -> Iterator[str]:
    """Its address; also what every flow in this process talks to meanwhile."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())
