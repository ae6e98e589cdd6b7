"""The user interfaces of `hlynr ui`: MLflow's and Optuna's."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

from hlynr.config.project import Project
from hlynr.runtime.errors import InputError


def serve_ui(project: Project, port: int) -> NoReturn:
    """Become the MLflow server on localhost, until it is stopped.

    Raises:
        EnvironmentNotReady: if the port is taken.
    """
    from hlynr.ops.tracking import server, store, views
    from hlynr.service import components

    components.require_free("127.0.0.1", port, "--port")
    opened = store.open_store(project.config, project.root)  # creates it where it is missing
    address = f"http://127.0.0.1:{port}"
    print(f"MLflow UI on {address}, Ctrl-C stops it", flush=True)
    print(f"The retrainings: {views.address(address, opened.experiment_id)}", flush=True)
    # Replaces this process, so that no child survives it.
    os.execv(sys.executable, server.command(project.config, project.root, "127.0.0.1", port))


def serve_dashboard(project: Project, port: int) -> NoReturn:
    """Become optuna-dashboard on localhost, until it is stopped.

    Raises:
        InputError: if there is no search yet.
        EnvironmentNotReady: if the port is taken.
    """
    from hlynr.runtime import database_uri
    from hlynr.service import components

    components.require_free("127.0.0.1", port, "--port")
    uri = database_uri.absolute(project.config.tune.storage, project.root)
    database = database_uri.file(uri)
    if database and not database.exists():
        raise InputError(f"--tune: there is no search in {uri} yet; hlynr tune begins one")
    print(f"optuna-dashboard on http://127.0.0.1:{port}, Ctrl-C stops it", flush=True)
    script = str(Path(sysconfig.get_path("scripts"), "optuna-dashboard"))
    os.execv(script, [script, uri, "--host", "127.0.0.1", "--port", str(port)])
