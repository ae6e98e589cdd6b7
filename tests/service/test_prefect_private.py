"""The contract with what Prefect does not document: each message names the version that has broken it."""

from __future__ import annotations

import inspect
import pkgutil

import prefect
import pytest
from prefect import flow_engine, states
from prefect.server.api import server
from prefect.server.concurrency.lease_storage import ConcurrencyLeaseStorage
from prefect.server.models import events
from prefect.settings.models.server.services import ServerServicesDBVacuumSettings
from prefect.workers import base

from hlynr.service import prefect_private
from hlynr.service.prefect_server import VACUUMED

VERSION = f"Prefect {prefect.__version__}"


def test_the_server_and_its_lease_storage_are_there() -> None:
    assert callable(pkgutil.resolve_name(prefect_private.SERVER_APP)), VERSION
    storage = pkgutil.resolve_name(prefect_private.LEASES_ON_DISK).ConcurrencyLeaseStorage
    assert issubclass(storage, ConcurrencyLeaseStorage), VERSION


@pytest.mark.parametrize(
    ("name", "where"),
    [
        *((name, server.create_app) for name in prefect_private.EPHEMERAL if "__" in name),
        (prefect_private.FLOW_RUN_ID, base),
        (prefect_private.WORKER_LABEL, base),
        (prefect_private.HEARTBEAT_EVENT, flow_engine),
    ],
)
def test_the_name_is_the_one_that_prefect_uses(name: str, where: object) -> None:
    assert f'"{name}"' in inspect.getsource(where), f"{VERSION} no longer uses {name}"


def test_the_end_of_a_run_is_an_event_with_the_name_of_its_state() -> None:
    assert 'f"prefect.flow-run.{validated_state.name}"' in inspect.getsource(events), VERSION
    names = {make().name for make in (states.Completed, states.Failed, states.Cancelled, states.Crashed)}
    assert {f"prefect.flow-run.{name}" for name in names} == prefect_private.END_EVENTS, VERSION


def test_the_server_deletes_old_runs() -> None:
    settings = ServerServicesDBVacuumSettings.model_validate({"enabled": VACUUMED})
    assert settings.enabled_vacuum_types == {"events", "flow_runs", "orphans"}, VERSION
