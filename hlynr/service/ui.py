"""MLflow's user interface, for `hlynr ui`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from hlynr.config.project import Project
from hlynr.runtime import environment


def serve(project: Project, port: int) -> NoReturn:
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
    variables = environment.of_child(server.environment(project.config, project.root))
    os.execve(sys.executable, server.command("127.0.0.1", port, project.config.service.allowed_hosts), variables)
