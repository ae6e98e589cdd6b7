"""The servers that the runs share: Prefect's, MLflow's and a database on PostgreSQL; each is started once."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hlynr.service import prefect_server
from hlynr.service.prefect_private import EPHEMERAL, SERVER_AUTH

PATIENCE = 180.0
"""[s] for a server to answer on a busy machine."""


@dataclass
class Server:
    """A process that is started again when it was killed."""

    command: Sequence[str]
    folder: Path
    log: Path
    healthy: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        bare = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "CHAOS_FILE")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=bare | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait()

    def wait(self) -> None:
        """Return when it answers."""
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE
        while not self.healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[3:]} does not answer, see {self.log}")
            time.sleep(0.1)

    def kill(self) -> None:
        """With all that it has started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()


def prefect(folder: Path) -> Server:
    """A server of Prefect, whose address and folder this process's environment gets."""
    port = prefect_server.free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        "PREFECT_HOME": str(folder / "prefect"),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    string = "chaos:any"
    os.environ.update(environment, PREFECT_API_URL=api, PREFECT_API_AUTH_STRING=string)

    def healthy() -> bool:
        from hlynr.service.prefect_api import PrefectApi

        return PrefectApi(api).healthy()

    command = prefect_server.command("127.0.0.1", port)
    return Server(command, folder / "prefect", folder / "prefect.log", healthy, EPHEMERAL | {SERVER_AUTH: string})
