"""MLflow's server over a project's store, in one process.

`mlflow server` is two, the second of which takes as long to start as the first, names the database on its command line,
and has rules of its own for which hosts it answers to: its page cannot even be used under a name that it allows, as it
rejects what is posted from there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hlynr.config.config import Config
from hlynr.ops.tracking import mlflow_private, store
from hlynr.runtime import database_uri, web_guard
from hlynr.runtime import environment as variables


def environment(config: Config, root: Path) -> dict[str, str]:
    """Of the server's process; the store in the variables that `mlflow server` reads, too."""
    return {
        "MLFLOW_BACKEND_STORE_URI": database_uri.absolute(config.tracking.uri, root),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": store.artifact_root(config.tracking.artifacts, root),
    }


def command(host: str, port: int, allowed_hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """The server's command line, for a process with `environment`.

    Args:
        host: the address to listen on.
        allowed_hosts: see `hlynr.runtime.web_guard`.
    """
    return (sys.executable, "-P", "-m", "hlynr.ops.tracking.server", host, str(port), *allowed_hosts)


def main() -> None:
    """Be the server; arguments as in `command`."""
    host, port, *allowed_hosts = sys.argv[1:]
    variables.extend(variables.fixed("MLFLOW_", "DO_NOT_TRACK"))  # also in a container, before MLflow is imported
    app = mlflow_private.server_application(
        os.environ.get("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db"),
        os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "mlflow-artifacts:/"),
        os.environ.get("MLFLOW_ARTIFACTS_DESTINATION", "./mlartifacts"),
    )
    web_guard.serve(app, host, int(port), allowed_hosts)


if __name__ == "__main__":
    main()
