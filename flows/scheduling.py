"""When a retraining may begin: it holds the GPU slot and the project's lock, and no later retraining supersedes it.

The slot is a global concurrency limit of the Prefect server, so it holds over all machines; the lock also keeps out
retrainings that use another server. A run that waits shows it in its state.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import ConcurrencyLeaseHolder, State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Running

from hlynr.runtime import locks, parent

SLOT = "hlynr-gpu"
LEASE = 60.0
"""[s] after which the slot of a killed run is free again, the least that Prefect takes; a running one renews it."""
RETRY = 2.0
"""[s] between two tries to get slot or lock."""
WAITING = "AwaitingGpu"
WORKER_VARIABLE = "HLYNR_WORKER"
"""Environment variable with the process id of the worker, which is the parent of each of its runs."""


def missed() -> State[None] | None:
    """The state to end in if a later scheduled retraining is due as well: after a week off, a machine retrains once."""
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
    times = [run.expected_start_time for run in runs if run.auto_scheduled and run.expected_start_time]
    newest = max(times, default=own.expected_start_time)
    if newest <= own.expected_start_time:
        return None
    return Cancelled(name="Missed", message=f"Superseded by the retraining of {newest:%Y-%m-%d %H:%M} UTC.")


@contextmanager
def gpu_slot(root: Path | None = None, *, wait: bool = True) -> Iterator[State[None] | None]:
    """Hold the GPU slot, and the lock of the project at ``root``; yields the state to end in at once if superseded.

    Args:
        wait: for the lock, too.

    Raises:
        hlynr.runtime.locks.BusyError: if another retraining runs in the project, and this one does not wait.
    """
    with ExitStack() as held:
        ended = _enter_when_free(held, _limit, TimeoutError, "another training has the GPU slot")
        if root and not wait:
            held.enter_context(locks.one_at_a_time(root))
        elif root and ended is None:
            lock = partial(locks.one_at_a_time, root)
            ended = _enter_when_free(held, lock, locks.BusyError, "another retraining is going on in the project")
        yield ended


def _enter_when_free(
    held: ExitStack, enter: Callable[[], AbstractContextManager[None]], taken: type[Exception], reason: str
) -> State[None] | None:
    """Enter as soon as it is free; returns the state to end in if the run was superseded meanwhile."""
    waited = False
    while (ended := missed()) is None:
        try:
            held.enter_context(enter())
            break
        except taken:
            if not waited:
                _show(Running(name=WAITING, message=f"Waiting: {reason}."))
                print(f"waiting: {reason} ...", file=sys.stderr, flush=True)
            waited = True
            time.sleep(RETRY)
    if waited and ended is None:
        _show(Running())
    return ended


@contextmanager
def _limit() -> Iterator[None]:
    """The GPU slot, if the server has one, which that of a single command has not; TimeoutError if it is taken.

    A lease that cannot be renewed does not end the retraining: the server may be away for a moment, and on one machine
    the project's lock holds all the same.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(SLOT)
        except ObjectNotFound:
            limit: AbstractContextManager[None] = nullcontext()
        else:
            holder = ConcurrencyLeaseHolder(type="flow_run", id=UUID(runtime.flow_run.id))
            limit = concurrency(
                SLOT, timeout_seconds=1.0, lease_duration=LEASE, holder=holder, raise_on_lease_renewal_failure=False
            )
    with limit:
        yield


def _show(state: State[None]) -> None:
    """Set the run's state for people to see; the run does not depend on it."""
    with suppress(Exception), get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(runtime.flow_run.id), state, force=True)


def end_with_worker() -> None:
    """Send this process SIGTERM, as a cancellation does, when its worker is gone.

    Otherwise a run whose worker was killed would go on where it can no longer be cancelled.
    """
    worker = os.environ.get(WORKER_VARIABLE)
    if worker is not None and threading.current_thread() is threading.main_thread():
        parent.end_with(int(worker))
