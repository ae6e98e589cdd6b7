"""One project whose service is up, shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import services
from support.services import Receiver, Service


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Receives alerts."""
    with services.receiving() as found:
        yield found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Service]:
    """Without a schedule; its retrainings last until they are stopped, unless a test makes them short."""
    root = tmp_path_factory.mktemp("service") / "project"
    with services.running(root, *services.ENDLESS, "schedule.cron=null", HLYNR_WEBHOOK=receiver.url) as up:
        yield up
    remaining = services.remaining(root)
    assert not remaining, f"processes of the service remain: {[each.cmdline() for each in remaining]}"
