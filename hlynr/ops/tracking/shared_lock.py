"""A lock inside the MLflow store, for a store that several machines change: a file lock ends at its own machine.

MLflow has one operation that only one of many callers can win through every backend: creating a registered model,
which fails where the name exists. So the lock is a registered model named like ``hlynr-intercept.lock`` that exists
only while it is held; its tags name the holder.

A killed holder leaves it behind. No clocks of two machines, nor the server's, are ever compared: a waiter takes the
lock for abandoned once token and renewals have not changed for `LEASE` of the waiter's own time, which is right
however wrong the clocks are. The holder counts from before it asked for the lock, so that its own lease ends first.
Source: the lease of Amazon's DynamoDB lock client.

MLflow deletes by name, not by token. So that a slow waiter cannot delete the lock of the next holder, a lock is taken
away only under a second lock of the same kind, named after the first and its token: under it the token is read
again, and no other process can delete between that and the deletion.

What remains: `confirm` leaves a holder at least two thirds of the lease for the write that follows. A process that
freezes in between for longer, or a request that takes longer, still writes under a lock that it no longer holds; only
a store that checks a token with every write could prevent that.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hlynr.ops.tracking.calls import if_exists
from hlynr.runtime.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE = 60.0
"""[s] after which a lock that is not renewed is taken away; a promotion takes one or two."""
PATIENCE = 180.0
"""[s] to wait for the lock: an abandoned one, and then the others that waited."""
POLL = 0.25
"""[s] between two looks at another holder's lock, on average."""

TOKEN_TAG, HOLDER_TAG, RENEWED_TAG = "hlynr.lock.token", "hlynr.lock.holder", "hlynr.lock.renewed"
DESCRIPTION = (
    "No model: a process is changing the registry at this moment. It goes by itself; if its holder was killed, the "
    "next change of the registry takes it away."
)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps: the others do not sleep."""

_log = logging.getLogger(__name__)

Confirm = Callable[[], None]


class LockError(EnvironmentNotReady):
    """The lock could not be acquired, or was lost; the message names its holder."""


@dataclass(frozen=True)
class LockState:
    """The lock as read from the store; two are equal only if nothing has happened to it in between."""

    token: str
    holder: str
    renewed: str


@contextmanager
def hold(client: MlflowClient, name: str) -> Iterator[Confirm]:
    """Hold the lock ``name``; what it yields raises `LockError` unless the lock is still held, and renews it.

    Call that right before every write that must not happen twice.

    Raises:
        LockError: if others held it for all of `PATIENCE`.
    """
    held = _acquired(client, name)
    try:
        _delete_leftovers(client, held)
        yield held.confirm
    finally:
        held.release()


class _Held:
    """A lock held by this process."""

    def __init__(self, client: MlflowClient, name: str, token: str, since: float) -> None:
        self.client, self.name, self.token = client, name, token
        self._renewed = since

    def confirm(self) -> None:
        """Check that it is still held, and renew it where a third of the lease is over."""
        began = _now()
        found = _read(self.client, self.name)
        if found is None or found.token != self.token:
            holder = found.holder if found else "another process"
            raise LockError(f"{self.name} was lost to {holder}; nothing more is written")
        if began - self._renewed > LEASE / 3:
            self._renew(began)

    def release(self) -> None:
        """Delete it if it is still held; where that fails, the lease frees it."""
        from mlflow.exceptions import MlflowException

        try:
            self.confirm()
            if_exists(self.client.delete_registered_model, self.name)
        except (EnvironmentNotReady, MlflowException) as error:
            _log.info("%s was not released: %s", self.name, error)

    def _renew(self, began: float) -> None:
        """Not after the lease: a waiter may have found it abandoned by then, and be about to take it away."""
        if began - self._renewed < LEASE:
            self.client.set_registered_model_tag(self.name, RENEWED_TAG, f"{began:.3f}")
        if _now() - self._renewed > LEASE:
            raise LockError(f"{self.name} was held for longer than {LEASE:g} s without being renewed")
        self._renewed = began


def _acquired(client: MlflowClient, name: str) -> _Held:
    token, watched, unchanged_since = secrets.token_hex(8), None, 0.0
    deadline = _now() + PATIENCE
    while True:
        began = _now()
        if _create(client, name, token):
            return _Held(client, name, token, began)
        found = _read(client, name)
        if found is not None and found != watched:
            if watched is None or found.token != watched.token:
                _log.info("waiting for the registry: %s is held by %s", name, found.holder)
            watched, unchanged_since = found, _now()
        elif found is not None and _now() - unchanged_since > LEASE:
            _take_away(client, name, found)
            continue
        if _now() > deadline:
            holder = found.holder if found else "no process"
            raise LockError(f"{name} was not free for {PATIENCE:g} s; it is held by {holder}")
        time.sleep(POLL * random.uniform(0.5, 1.5))


def _create(client: MlflowClient, name: str, token: str) -> bool:
    """Whether this process holds the lock now."""
    from mlflow.exceptions import MlflowException

    holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    try:
        client.create_registered_model(name, {TOKEN_TAG: token, HOLDER_TAG: holder}, f"{DESCRIPTION} Holder: {holder}.")
    except MlflowException as error:
        # The second: MLflow reads the model that it could not create, which may have just been deleted.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        found = _read(client, name)  # MLflow repeats a request whose answer was lost, and then meets our own model
        return found is not None and found.token == token
    return True


def _read(client: MlflowClient, name: str) -> LockState | None:
    found = if_exists(client.get_registered_model, name)
    if found is None:
        return None
    tags = found.tags
    return LockState(tags.get(TOKEN_TAG, ""), tags.get(HOLDER_TAG, "an unknown process"), tags.get(RENEWED_TAG, ""))


def _take_away(client: MlflowClient, name: str, abandoned: LockState) -> None:
    """Delete the lock, unless something has happened to it since."""
    _log.warning("%s is abandoned: %s has not renewed it for %g s", name, abandoned.holder, LEASE)
    with hold(client, f"{name}.{abandoned.token}") as confirm:
        if _read(client, name) == abandoned:
            confirm()
            if_exists(client.delete_registered_model, name)


def _delete_leftovers(client: MlflowClient, held: _Held) -> None:
    """Delete the second locks of processes that were killed while they took away an earlier lock of this name.

    Tokens are never used again, so a second lock named after another token than the present one protects nothing.
    """
    for model in client.search_registered_models(f"name LIKE '{held.name}.%'"):
        if model.name.startswith(f"{held.name}.") and not model.name.startswith(f"{held.name}.{held.token}"):
            if_exists(client.delete_registered_model, model.name)


def _now() -> float:
    return time.clock_gettime(_CLOCK)
