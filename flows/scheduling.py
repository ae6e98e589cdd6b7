"""When a retraining may begin: it has the GPU slot, no other is at work in the project, and no later one stands for it.

The slot is a global concurrency limit of the Prefect server, so it holds over all machines; the project's lock keeps
out who does not ask that server. A run that has to wait shows so in its state.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLeaseHolder, FlowRun, State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Running

from hlynr.runtime import locks, parent

SLOT = "hlynr-gpu"
LEASE = 60.0
"""[s] after which the slot of a killed run is free again, the least that Prefect takes; a living one renews it."""
PAUSE = 2.0
"""[s] between two tries to get on."""
WAITING = "AwaitingGpu"
WORKER = "HLYNR_WORKER"
"""Environment variable with the id of the worker's process, which is the parent of each of its runs."""


def missed() -> State[None] | None:
    """The state to end in, if this run is one of several that came due while nobody could run them.

    The newest of them stands for all: a machine that slept for a week retrains once.
    """
    if runtime.deployment.id is None:
        return None
    with get_client(sync_client=True) as client:
        own = client.read_flow_run(UUID(runtime.flow_run.id))
        if not own.auto_scheduled or own.expected_start_time is None:
            return None
        due = {
            "deployment_id": {"any_": [runtime.deployment.id]},
            "expected_start_time": {"before_": datetime.now(UTC), "after_": own.expected_start_time},
            "state": {"type": {"not_any_": ["CANCELLED", "CANCELLING"]}},
        }
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(due))
    later = [run for run in runs if run.auto_scheduled and _time(run) > _time(own)]
    if not later:
        return None
    newest = datetime.fromtimestamp(max(map(_time, later)), UTC)
    return Cancelled(name="Missed", message=f"The retraining of {newest:%Y-%m-%d %H:%M} UTC stands for this one.")


@contextmanager
def turn(root: Path, *, wait: bool) -> Iterator[State[None] | None]:
    """Hold the GPU slot and the project; yields the state to end in at once, where the retraining has been missed.

    Args:
        wait: for the project, too; otherwise who comes second there is turned away.

    Raises:
        hlynr.runtime.locks.BusyError: if another retraining is going on in the project, and this one does not wait.
    """
    with ExitStack() as held:
        ended = _entered(held, _slot, TimeoutError, "another training has the GPU slot")
        if not wait:
            held.enter_context(locks.one_at_a_time(root))
        elif ended is None:
            project = partial(locks.one_at_a_time, root)
            ended = _entered(held, project, locks.BusyError, "another retraining is going on in the project")
        yield ended


def _entered(
    held: ExitStack, place: Callable[[], AbstractContextManager[None]], taken: type[Exception], reason: str
) -> State[None] | None:
    """Enter as soon as one can; returns the state to end in, when that has become pointless meanwhile."""
    waited = False
    while (ended := missed()) is None:
        try:
            held.enter_context(place())
            break
        except taken:
            if not waited:
                _show(Running(name=WAITING, message=f"Waiting: {reason}."))
                print(f"waiting: {reason} ...", file=sys.stderr, flush=True)
            waited = True
            time.sleep(PAUSE)
    if waited and ended is None:
        _show(Running())
    return ended


@contextmanager
def gpu() -> Iterator[None]:
    """Hold the GPU slot alone, for a search of hyperparameters."""
    with ExitStack() as held:
        _entered(held, _slot, TimeoutError, "another training has the GPU slot")
        yield


@contextmanager
def _slot() -> Iterator[None]:
    """The GPU slot, if the server knows of one; a TimeoutError where it is taken.

    A lease that cannot be renewed does not end the retraining: the server may be away for a moment, and on one machine
    the project's lock holds all the same.
    """
    if not _limited():
        yield
        return
    holder = ConcurrencyLeaseHolder(type="flow_run", id=UUID(runtime.flow_run.id))
    with concurrency(
        SLOT, timeout_seconds=1.0, lease_duration=LEASE, holder=holder, raise_on_lease_renewal_failure=False
    ):
        yield


def _limited() -> bool:
    """Whether the server has the slot: one for a single command has not."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(SLOT)
        except ObjectNotFound:
            return False
    return True


def _show(state: State[None]) -> None:
    """As the run's state, for who looks at it; it gets on without."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(runtime.flow_run.id), state, force=True)


def _time(run: FlowRun) -> float:
    assert run.expected_start_time is not None
    return run.expected_start_time.timestamp()


def end_with_worker() -> None:
    """Ask this process to stop, as a cancellation does, when the worker that began it is gone.

    Otherwise a run whose worker was killed would go on where nobody can cancel it any more.
    """
    worker = os.environ.get(WORKER)
    if worker is not None and threading.current_thread() is threading.main_thread():
        parent.end_with(int(worker))
