"""The authentication string of this project's Prefect server, and how processes come by it.

A client that can start runs on the server can run programs on every machine with a worker, so the server answers to
none without the string. It is in a file that only its owner can read, and processes get it in their environment:
neither a command line, a log nor a state file has it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hlynr.records.service import ServiceState
from hlynr.runtime import locks
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import AUTH, PrefectApi


def auth_string(root: Path) -> str:
    """The string, like ``hlynr:...``; made if there is none yet, one for all processes that race for it."""
    file = ServicePaths(root).auth_file
    file.parent.mkdir(parents=True, exist_ok=True)
    busy = locks.BusyError(f"{file}: another process has been writing it for 10 s")
    with locks.hold(file.with_name(f"{file.name}.lock"), busy=busy, wait=10.0):
        file.touch(0o600)
        file.chmod(0o600)
        if not _read(file):
            file.write_text(f"hlynr:{secrets.token_urlsafe(32)}\n", encoding="utf-8")
        return _read(file)


def of_service(root: Path, state: ServiceState) -> PrefectApi:
    """The server that a project's running service uses: its own, or one elsewhere with the user's string."""
    own = _read(ServicePaths(root).auth_file) if state.own_prefect else os.environ.get(AUTH)
    return PrefectApi(state.prefect_api, own or None)


def _read(file: Path) -> str:
    """Empty where there is none: a service of an earlier version has no string."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
