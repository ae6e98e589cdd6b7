"""Keeps one part of the service running: started, watched, started anew when it ends, stopped, its log kept short."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from hlynr.records.service import ComponentState, ComponentStatus
from hlynr.runtime.processes import last_line
from hlynr.service.components import Component

LOOK = 5.0
"""[s] between two looks at whether it is well."""
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)
"""[s] before it is started anew, the longer the more often it has ended; being well for a while forgives."""
FORGIVEN = 300.0
GRACE = 15.0
"""[s] between asking it to stop and killing it."""
LOG_BYTES = 5_000_000


class SupervisedProcess:
    """One part; `tend` is called again and again."""

    def __init__(self, part: Component, root: Path, log: Path) -> None:
        self.part = part
        self.restarts = 0
        self._root, self._log = root, log
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._state: ComponentState = "elsewhere" if part.command is None else "down"
        self._next_look = 0.0
        self._well_at = 0.0
        self._fell: float | None = None
        """When it ended; None while it runs."""

    @property
    def status(self) -> ComponentStatus:
        log = os.path.relpath(self._log, self._root) if self.part.command else None
        pid = self._process.pid if self._process else None
        return ComponentStatus(
            name=self.part.name, state=self._state, url=self.part.url, pid=pid, restarts=self.restarts, log=log
        )

    @property
    def well(self) -> bool:
        return self._state in ("healthy", "elsewhere")

    def start(self) -> None:
        """Run the command; a part that is elsewhere only gets looked at."""
        if self.part.command is None:
            return
        minder = [sys.executable, "-P", "-m", "hlynr.service.process_guard", str(os.getpid()), str(GRACE)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*minder, *self.part.command],
                cwd=self._root,
                env=os.environ | self.part.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._begun = self._well_at = time.monotonic()
        self._state, self._fell, self._next_look = "starting", None, 0.0

    def tend(self) -> str | None:
        """Look after it; returns a line where there is something to tell."""
        now = time.monotonic()
        if self.part.command is None:
            return self._look_elsewhere(now)
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            return self._fallen(now, code)
        if now < self._next_look:
            return None
        self._shorten_log()
        return self._look(now)

    def stop(self) -> None:
        """End it and all that belongs to it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(GRACE + 5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()  # what it minds goes with it
                self._process.wait()
        self._process, self._state = None, "down" if self.part.command else "elsewhere"

    def last_words(self) -> str:
        """The last line of its log that says anything."""
        return last_line(self._log) or "it gave no reason"

    def _look_elsewhere(self, now: float) -> str | None:
        if now < self._next_look:
            return None
        self._next_look = now + LOOK
        return self._become("elsewhere" if self.part.well() else "not answering")

    def _look(self, now: float) -> str | None:
        if self.part.well():
            self._next_look, self._well_at = now + LOOK, now
            return self._become("healthy")
        self._next_look = now + (0.5 if self._state == "starting" else LOOK)
        if now - self._well_at > self.part.patience:
            assert self._process is not None
            self._process.terminate()
            self._well_at = now
            return f"{self.part.name} has not been well for {self.part.patience:g} s; it is started anew"
        return None if self._state == "starting" else self._become("not answering")

    def _fallen(self, now: float, code: int) -> str | None:
        if self._fell is None:
            if self.part.url and self._process:  # the worker's retrainings come to their checkpoint by themselves
                _end_session(self._process.pid)
            self._fell, self._state = now, "down"
            self.restarts = 0 if now - self._begun > FORGIVEN else self.restarts
            return f"{self.part.name} ended with exit code {code}: {self.last_words()}"
        if now - self._fell < PAUSES[min(self.restarts, len(PAUSES) - 1)]:
            return None
        self.restarts += 1
        self.start()
        return f"{self.part.name} is started anew"

    def _become(self, state: ComponentState) -> str | None:
        before, self._state = self._state, state
        return None if before == state else f"{self.part.name} is {state}"

    def _shorten_log(self) -> None:
        """Copied and cut, because the process writes on into the same file."""
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            shutil.copyfile(self._log, self._log.with_suffix(".log.1"))
            os.truncate(self._log, 0)


def _end_session(leader: int) -> None:
    """What a killed minder could not end: its server's own children, of which one holds the port."""
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
