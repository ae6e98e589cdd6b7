"""One component kept running: started, its health checked, restarted with backoff, stopped, its log cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from hlynr.records.service import ComponentState, ComponentStatus
from hlynr.runtime import environment, logs
from hlynr.runtime.processes import last_line
from hlynr.service.process_guard import terminate

HEALTH_INTERVAL = 5.0
"""[s] between two health checks."""
BACKOFF = (1.0, 2.0, 5.0, 15.0, 60.0)
"""[s] before the first restart, the second, ...; the last for all further ones."""
BACKOFF_RESET = 300.0
"""[s] it must have run for the backoff to begin anew."""
STOP_GRACE = 15.0
"""[s] between SIGTERM and SIGKILL."""


@dataclass(frozen=True)
class Component:
    """A process to keep running, or a server elsewhere whose health is only checked."""

    name: str
    healthy: Callable[[], bool]
    url: str | None = None
    """Where people open it."""
    command: tuple[str, ...] | None = None
    """None: it runs elsewhere."""
    after: str | None = None
    """The component that must be healthy before this one starts."""
    environment: dict[str, str] = field(default_factory=dict)
    patience: float = 120.0
    """[s] it may be unhealthy before it is restarted."""
    port: tuple[str, int] | None = None
    """The setting and the port to listen on."""


class SupervisedProcess:
    """The process of one component; `poll` is to be called again and again."""

    def __init__(self, component: Component, root: Path, log: Path) -> None:
        self.component = component
        self.restarts = 0
        self._root, self.log = root, log
        self._process: subprocess.Popen[bytes] | None = None
        self._state: ComponentState = "down" if component.command else "elsewhere"
        self._started_at = self._healthy_at = self._next_check = 0.0
        self._ended_at: float | None = None
        """None while it runs."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def status(self) -> ComponentStatus:
        return ComponentStatus(
            name=self.component.name,
            state=self._state,
            url=self.component.url,
            pid=self.pid,
            restarts=self.restarts,
            log=os.path.relpath(self.log, self._root) if self.component.command else None,
        )

    @property
    def healthy(self) -> bool:
        return self._state in ("healthy", "elsewhere")

    def start(self) -> None:
        """Run the command below a process guard; does nothing for a component that runs elsewhere."""
        if self.component.command is None:
            return
        guard = [sys.executable, "-P", "-m", "hlynr.service.process_guard", str(os.getpid()), str(STOP_GRACE)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self._opened_log() as output:
            self._process = subprocess.Popen(
                [*guard, *self.component.command],
                cwd=self._root,
                env=environment.of_child(self.component.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started_at = self._healthy_at = time.monotonic()
        self._state, self._ended_at, self._next_check = "starting", None, 0.0

    def poll(self) -> str | None:
        """Check it, and restart it if it has ended; returns a line for the log if something has changed."""
        now = time.monotonic()
        if self._process and (code := self._process.poll()) is not None:
            return self._restart(now, code)
        if now < self._next_check or (self.component.command and not self._process):
            return None
        self._next_check = now + (0.5 if self._state == "starting" else HEALTH_INTERVAL)
        logs.cut(self.log)
        return self._check(now)

    def stop(self) -> None:
        """End it and its children."""
        if self._process is not None and self._process.poll() is None:
            terminate(self._process, STOP_GRACE + 5.0)  # the command dies with its guard
        self._process, self._state = None, "down" if self.component.command else "elsewhere"

    def last_log_line(self) -> str:
        return last_line(self.log) or "its log is empty"

    def _check(self, now: float) -> str | None:
        if self.component.healthy():
            self._healthy_at = now
            return self._become("healthy" if self._process else "elsewhere")
        if self._process and now - self._healthy_at > self.component.patience:
            self._process.terminate()
            self._healthy_at = now
            return f"{self.component.name} has not been healthy for {self.component.patience:g} s, restarting it"
        return None if self._state == "starting" else self._become("not answering")

    def _restart(self, now: float, code: int) -> str | None:
        name = self.component.name
        if self._ended_at is None:
            if self.component.url and self._process:  # a retraining of the worker must still write its checkpoint
                _kill_session(self._process.pid)
            self._ended_at, self._state = now, "down"
            self.restarts = 0 if now - self._started_at > BACKOFF_RESET else self.restarts
            return f"{name} ended with exit code {code}: {self.last_log_line()}"
        if now - self._ended_at < BACKOFF[min(self.restarts, len(BACKOFF) - 1)]:
            return None
        self.restarts += 1
        self.start()
        return f"{name} restarted"

    def _become(self, state: ComponentState) -> str | None:
        before, self._state = self._state, state
        return None if before == state else f"{self.component.name} is {state}"

    def _opened_log(self) -> IO[bytes]:
        try:
            return self.log.open("ab")
        except OSError:  # a disk without room for one more file must not end the service
            return open(os.devnull, "wb")


def _kill_session(leader: int) -> None:
    """Kill what a killed guard has not: the server's own children, one of which holds the port."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
