"""Errors that a user can remove the cause of, one class for each exit code.

Each is one line that names what to change. Any other error is a fault of the program and keeps its traceback.
"""

import os
import sys
from collections.abc import Callable
from errno import EACCES, EDQUOT, EFBIG, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENOMEM, ENOSPC, ENOTDIR, EPERM, EROFS

from hlynr.records.guarded_file import DamagedFileError
from hlynr.runtime import outside

DONE, BAD_INPUT, TRAINING_FAILED, NOT_READY, INTERRUPTED = 0, 2, 3, 4, 130
"""The exit codes of every command; the last is the shell's for Ctrl-C."""


class UserError(Exception):
    """Reported as a line instead of a traceback."""

    exit_code = NOT_READY


class InputError(UserError, ValueError):
    """A setting, an option or a file is invalid."""

    exit_code = BAD_INPUT


class TrainingError(UserError, RuntimeError):
    """The training failed."""

    exit_code = TRAINING_FAILED


class EnvironmentNotReady(UserError, RuntimeError):
    """The machine, a store or a service lacks something that the command needs."""


_SYSTEM = {EACCES, EDQUOT, EFBIG, EIO, EISDIR, ELOOP, EMFILE, ENAMETOOLONG, ENOMEM, ENOSPC, ENOTDIR, EPERM, EROFS}
"""Errors of the operating system with causes outside the program; a missing file is not among them."""
_NO_SPACE = os.strerror(ENOSPC)
_SERVERS = {"requests": "MLflow's server", "httpx": "Prefect's server", "prefect": "Prefect's server"}
"""By the library that asks it."""
_TO_PREFECT = {
    401: f"{outside.CREDENTIALS}; PREFECT_API_AUTH_STRING must be as in .hlynr/prefect-auth-string on its machine",
    403: "it does not answer to the name in PREFECT_API_URL; service.allowed_hosts on its machine must have it",
}
"""What an HTTP status of Prefect's server means, and what mends it."""

# Errors that have no class or code of their own, by a piece of their message, and what to say instead.
_MESSAGES = {
    # Prefect 3.8 raises a RuntimeError, whatever the cause.
    "Failed to reach API at": "the Prefect server of PREFECT_API_URL does not answer; start it, or unset the variable",
    # MLflow 3.17 raises an MlflowException with the code of an internal error.
    "out-of-date database schema": "the MLflow database is of another MLflow version; back it up, then run "
    "mlflow db upgrade on it",
    # shutil.Error (Python 3.11), safetensors 0.6 and psycopg2 2.9 keep the words, not the number.
    _NO_SPACE: _NO_SPACE,
}


def as_user_error(error: BaseException) -> UserError | None:
    """The error as one line for the user, if a user can remove its cause; None for a fault of the program."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, DamagedFileError):
        return InputError(str(error))
    line = outside.first(error, _line)
    return None if line is None else EnvironmentNotReady(line)


def exit_code(main: Callable[[], object]) -> int:
    """Run an entry point; an error that the user can remove goes to standard error instead of a traceback."""
    try:
        main()
    except Exception as error:
        reported = as_user_error(error)
        if reported is None:
            raise
        for line in str(reported).splitlines():
            print(f"hlynr: {line}", file=sys.stderr, flush=True)
        return reported.exit_code
    return DONE


def _line(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if database := outside.database_fault(error):
        return f"a database cannot be used: {database}"
    if answer := outside.server_fault(error):
        where = outside.server_of(error)
        server = _SERVERS.get(type(error).__module__.partition(".")[0], "the store of artifacts")
        code = outside.status_of(error)
        if server == "Prefect's server" and code in _TO_PREFECT:
            answer = f"answers {code}: {_TO_PREFECT[code]}"
        return f"{server}{f' at {where}' if where else ''} {answer}"
    if isinstance(error, ConnectionError):
        return f"a server does not answer: {outside.brief(error)}"
    if isinstance(error, ValueError) and outside.raised_in(error, "prefect.client"):
        return "the server of PREFECT_API_URL answers, but not as Prefect's server does"
    text = str(error)
    return next((line for piece, line in _MESSAGES.items() if piece in text), None)
