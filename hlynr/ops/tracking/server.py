"""MLflow's server: the command that runs it over a project's store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hlynr.config.config import Config
from hlynr.ops.tracking import store
from hlynr.runtime import database_uri

LOCAL_HOSTS = ("localhost:*", "127.0.0.1:*")


def command(config: Config, root: Path, host: str, port: int, allowed_hosts: Sequence[str] = ()) -> list[str]:
    """The server's command line.

    Args:
        host: the address to listen on.
        allowed_hosts: names beside localhost under which requests are answered; any other Host or Origin gets 403.
    """
    arguments = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    uri = database_uri.absolute(config.tracking.uri, root)
    arguments += [
        "--backend-store-uri",
        uri,
        "--default-artifact-root",
        store.artifact_root(config.tracking.artifacts, root),
    ]
    if allowed_hosts:
        arguments += ["--allowed-hosts", ",".join((*LOCAL_HOSTS, *allowed_hosts))]
    return arguments
