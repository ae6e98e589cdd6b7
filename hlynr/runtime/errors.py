"""The errors a user can do something about, by what they mean for the exit code.

Each keeps to one line and names what to change. Anything else is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

import errno
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator

DONE, BAD_INPUT, TRAINING_FAILED, NOT_READY, INTERRUPTED = 0, 2, 3, 4, 130
"""The exit codes of every command; the last is the shell's for Ctrl-C."""


class UserError(Exception):
    """Base of all that is reported as a line instead of a traceback."""

    exit_code = NOT_READY


class InputError(UserError, ValueError):
    """What was asked for cannot be: a setting, an option, a file."""

    exit_code = BAD_INPUT


class TrainingError(UserError, RuntimeError):
    """The training failed."""

    exit_code = TRAINING_FAILED


class EnvironmentNotReady(UserError, RuntimeError):
    """The machine, a store or a service is not as the command needs it."""

    exit_code = NOT_READY


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


def exit_code(main: Callable[[], object]) -> int:
    """Run an entry point; an error that the user can mend goes to standard error instead of a traceback."""
    try:
        main()
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        for line in str(told).splitlines():
            print(f"hlynr: {line}", file=sys.stderr, flush=True)
        return told.exit_code
    return DONE


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
