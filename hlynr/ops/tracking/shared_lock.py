"""A lock inside the MLflow store, for a store that several machines change: a file lock ends at its own machine.

MLflow has one operation that only one of many callers can win through every backend: creating a registered model,
which fails where the name exists. So the lock is a registered model named like ``hlynr-intercept.lock``, made for
the moments in which it is held and deleted afterwards; its tags say whose it is.

A holder that was killed leaves it behind. No two machines' clocks are ever compared, nor the server's with ours: who
waits takes the lock for abandoned once it has stood unchanged, same token and same renewals, for `LEASE` of the
waiter's own time. That may be the whole lease after a holder long dead, and is right however wrong the clocks are.
The holder counts from before it asked for the lock, so that its own lease ends first.
Source: the lease of Amazon's DynamoDB lock client, which counts in the same way.

MLflow deletes by name and not by token. So that a slow waiter cannot delete the lock of whoever came next, a lock is
taken away only under a second one, named after the first and its token: under it the token is looked at again, and
nobody else can delete between look and deletion. That second lock is one like the first, lease included.

What remains: `confirm` leaves a holder at least two thirds of the lease for the write that follows it. A process
that freezes between the two for longer than that, or a request that is under way for longer, still writes under a
lock that is no longer its own; only a store that checks a token with every write could refuse it.
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

from hlynr.runtime.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from mlflow import MlflowClient

LEASE = 60.0
"""[s] a lock stands without being renewed before others take it away; a promotion takes one or two."""
PATIENCE = 180.0
"""[s] to wait for it: an abandoned lock, and then those who waited as well."""
POLL = 0.25
"""[s] between two looks at the lock of somebody else, on average."""

TOKEN_TAG, HOLDER_TAG, RENEWED_TAG = "hlynr.lock.token", "hlynr.lock.holder", "hlynr.lock.renewed"
DESCRIPTION = (
    "No model: somebody is changing the registry at this moment. It goes by itself; if its holder was killed, the "
    "next change of the registry takes it away."
)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps: the others do not sleep."""

_log = logging.getLogger(__name__)

Confirm = Callable[[], None]


class LockError(EnvironmentNotReady):
    """The lock could not be had, or was lost; the message says to whom."""


@dataclass(frozen=True)
class Sight:
    """What a look at the lock shows; two are equal only if nothing has happened to it in between."""

    token: str
    holder: str
    renewed: str


@contextmanager
def hold(client: MlflowClient, name: str) -> Iterator[Confirm]:
    """Hold the lock ``name``; what it yields raises `LockError` unless the lock is held still, and renews it.

    Call that right before every write that must not happen twice.

    Raises:
        LockError: if others held it for all of `PATIENCE`.
    """
    held = _acquired(client, name)
    try:
        _sweep(client, held)
        yield held.confirm
    finally:
        held.release()


class _Held:
    """A lock of ours."""

    def __init__(self, client: MlflowClient, name: str, token: str, since: float) -> None:
        self.client, self.name, self.token = client, name, token
        self._renewed = since

    def confirm(self) -> None:
        """Look whether it is ours still, and renew it where a third of the lease is over."""
        began = _now()
        found = _look(self.client, self.name)
        if found is None or found.token != self.token:
            raise LockError(f"{self.name} was lost to {found.holder if found else 'somebody'}; nothing more is written")
        if began - self._renewed > LEASE / 3:
            self._renew(began)

    def release(self) -> None:
        """Delete it if it is ours; where that cannot be, the lease frees it, or somebody has done so already."""
        from mlflow.exceptions import MlflowException

        try:
            self.confirm()
            _delete(self.client, self.name)
        except (LockError, MlflowException) as error:
            _log.info("%s was not released: %s", self.name, error)

    def _renew(self, began: float) -> None:
        """Not after the lease: who waits may have found it abandoned by then, and be about to take it away."""
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
        found = _look(client, name)
        if found is not None and found != watched:
            if watched is None or found.token != watched.token:
                _log.info("waiting for the registry: %s is held by %s", name, found.holder)
            watched, unchanged_since = found, _now()
        elif found is not None and _now() - unchanged_since > LEASE:
            _take_away(client, name, found)
            continue
        if _now() > deadline:
            holder = found.holder if found else "nobody"
            raise LockError(f"{name} was not free for {PATIENCE:g} s; it is held by {holder}")
        time.sleep(POLL * random.uniform(0.5, 1.5))


def _create(client: MlflowClient, name: str, token: str) -> bool:
    """Whether the lock is ours now."""
    from mlflow.exceptions import MlflowException

    holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    try:
        client.create_registered_model(name, {TOKEN_TAG: token, HOLDER_TAG: holder}, f"{DESCRIPTION} Holder: {holder}.")
    except MlflowException as error:
        # The other: MLflow looks for the model it could not create, and that one may have just been deleted.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        found = _look(client, name)  # MLflow repeats a request whose answer got lost, and then meets our own model
        return found is not None and found.token == token
    return True


def _look(client: MlflowClient, name: str) -> Sight | None:
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return Sight(tags.get(TOKEN_TAG, ""), tags.get(HOLDER_TAG, "somebody"), tags.get(RENEWED_TAG, ""))


def _take_away(client: MlflowClient, name: str, abandoned: Sight) -> None:
    """Delete the lock, unless something has happened to it since."""
    _log.warning("%s is abandoned: %s has not moved for %g s", name, abandoned.holder, LEASE)
    with hold(client, f"{name}.{abandoned.token}") as confirm:
        if _look(client, name) == abandoned:
            confirm()
            _delete(client, name)


def _sweep(client: MlflowClient, held: _Held) -> None:
    """Delete what killed processes left that were taking away an earlier lock of this name.

    Tokens never come back, so what is named after another one than that of today protects nothing any more.
    """
    for model in client.search_registered_models(f"name LIKE '{held.name}.%'"):
        if model.name.startswith(f"{held.name}.") and not model.name.startswith(f"{held.name}.{held.token}"):
            _delete(client, model.name)


def _delete(client: MlflowClient, name: str) -> None:
    """A lock that is gone already is none the worse for it."""
    from mlflow.exceptions import MlflowException

    try:
        client.delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _now() -> float:
    return time.clock_gettime(_CLOCK)
