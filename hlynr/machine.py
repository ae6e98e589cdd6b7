"""Telling errors that mean the machine is not ready from faults of the program, whichever library raises them."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator

from hlynr.errors import EnvironmentNotReady, UserError

_MACHINE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EMFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
}
"""What the system refuses for reasons that lie outside the program; a missing file is not among them."""
_FULL = "No space left on device"

# A piece of a message of a library that has no class for it, and what to say instead.
_MESSAGES = {
    # torch writes checkpoints itself and reports a full disk as a position that did not advance.
    "PytorchStreamWriter failed": f"a training checkpoint could not be written, probably: {_FULL}",
    "inline_container.cc": f"a training checkpoint could not be written, probably: {_FULL}",
    "Failed to reach API at": "the Prefect server of PREFECT_API_URL does not answer; start it, or unset the variable",
    "out-of-date database schema": "the MLflow database is of another MLflow version; back it up, then run "
    "mlflow db upgrade on it",
    _FULL: _FULL,
}


_MLFLOW = re.compile(r"API request to (?P<server>https?://[^/\s]+)\S* failed")
"""How MLflow's client says that its server is away."""


def explained(error: BaseException) -> UserError | None:
    """The error as one line for the user, if it or what caused it is his to mend; None if the program is at fault."""
    if isinstance(error, UserError):
        return error
    line = next((line for link in _chain(error) if (line := _line(link)) is not None), None)
    return None if line is None else EnvironmentNotReady(line)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _line(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError):  # the others are the program's
        return f"the MLflow database of tracking.uri cannot be used: {error}"
    if away := _MLFLOW.search(str(error)):
        return f"MLflow's server at {away['server']} does not answer"
    if isinstance(error, ConnectionError):
        return f"a server does not answer: {' '.join(str(error).split())}"
    text = str(error)
    return next((line for piece, line in _MESSAGES.items() if piece in text), None)
