"""A Prefect server for one command: started beside it, gone with it.

Prefect would start one by itself. But that one shares the terminal's Ctrl-C and so is gone before the flow can
report its end, it outlives a parent that was killed, and all it says of a failed start is that time ran out.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hlynr.config.project import Project
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.parent import end_with
from hlynr.runtime.processes import last_line
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_api import answers

START_TIMEOUT = 120.0
"""[s] it takes 10 to 40 on a busy machine."""
STOP_TIMEOUT = 10.0
_HINT = "see whether its versions fit: pip install --constraint constraints.txt --editable ."


@dataclass
class Server:
    """A server on its way up."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            EnvironmentNotReady: if it ends instead, or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not answers(f"{self.url}/health", timeout=5.0):
            if self.process.poll() is not None:
                reason = last_line(self.log) or f"no reason given in {self.log}"
                raise EnvironmentNotReady(f"Prefect's server did not start: {reason}; {_HINT}")
            if time.monotonic() > deadline:
                raise EnvironmentNotReady(f"Prefect's server does not answer after {START_TIMEOUT:g} s, see {self.log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, gently at first."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(project: Project) -> Server | None:
    """Start a server with a database of the project's own; None where the environment names a server or one is up.

    Must run before prefect is imported, which reads its settings from the environment then. Stopped at exit,
    after prefect's own exit handlers have sent their last events.
    """
    # The flow says itself what it does and what went wrong; Prefect's own lines stay in its database for the UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.update(settings(project))
    if "PREFECT_API_URL" in os.environ:
        return None
    if up := ServicePaths(project.root).running():
        os.environ["PREFECT_API_URL"] = up.prefect_api
        return None
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    server = _started(home / "server.log", free_port())
    atexit.register(server.stop)
    os.environ["PREFECT_API_URL"] = server.url
    return server


def settings(project: Project) -> dict[str, str]:
    """The environment of whatever imports Prefect for this project: what is there already, or the project's own."""
    own = {
        "PREFECT_HOME": str(project.root / ".hlynr" / "prefect"),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    return {name: os.environ.get(name, value) for name, value in own.items()}


def _started(log: Path, port: int) -> Server:
    # As Prefect runs its ephemeral server: without the UI and the services that only schedules need.
    mode = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hlynr.service.prefect_server", "127.0.0.1", str(port), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | mode,
            start_new_session=True,
        )
    return Server(process, f"http://127.0.0.1:{port}/api", log)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """The server's side: host, port, and the process whose end it notices itself; 0 where somebody else minds that."""
    import uvicorn

    host, port, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if parent:
        end_with(parent, kill_after=STOP_TIMEOUT)
    application = "prefect.server.api.server:create_app"
    uvicorn.run(application, factory=True, host=host, port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    main()
