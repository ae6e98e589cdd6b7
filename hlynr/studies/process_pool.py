"""Child processes side by side, each handled by a thread: restarted after a crash, stopped together."""

import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from hlynr.records.base import Record
from hlynr.runtime import processes
from hlynr.runtime.errors import UserError
from hlynr.runtime.processes import TrainingCrashedError
from hlynr.runtime.progress import ProgressObserver
from hlynr.studies.live_board import LiveBoard, shown

TRIES = 3
"""Starts of a process that crashes without any progress in between."""
POLL_INTERVAL = 0.2
"""[s] between two updates of the board."""


@dataclass(frozen=True)
class Task:
    """What one process does."""

    name: str
    command: Sequence[str]
    request: Record
    """Sent to the process on its standard input."""
    messages: Path
    """The file that its standard error is appended to."""
    observers: Sequence[ProgressObserver] = ()


def run(tasks: Sequence[Task], at_once: int, board: LiveBoard) -> None:
    """Run all tasks, started in their order, ``at_once`` at a time, and show them on the board.

    Raises:
        KeyboardInterrupt: after all processes have stopped cleanly.
        Exception: the first that a thread raised, once the others have ended.
    """
    pool = _ProcessPool(board)
    with shown(board) as update:
        with ThreadPoolExecutor(at_once) as threads:
            futures = [threads.submit(pool.run, task) for task in tasks]
            try:
                while wait(futures, POLL_INTERVAL).not_done:
                    update()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                pool.stop()
                raise
        for future in futures:
            future.result()
        update()


class _ProcessPool:
    def __init__(self, board: LiveBoard) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False

    def run(self, task: Task) -> None:
        """Start the task's process until it ends without a crash, or has crashed too often."""
        crashes, before = 0, self._board.progress()
        while process := self._start(task):
            try:
                self._converse(task, process)
            except TrainingCrashedError as error:
                if self._stopping:
                    return
                now = self._board.progress()
                crashes, before = crashes + 1 if now == before else 1, now
                if crashes == TRIES:
                    reason = f"{error}, in the last of {TRIES} tries; see {task.messages}"
                    return self._board.failed(task.name, TrainingCrashedError(reason))
                self._board.notes.append(f"{task.name}: {error}; {self._board.restart}")
            except UserError as error:
                return self._board.failed(task.name, error)
            else:
                return self._board.ended(task.name)

    def _start(self, task: Task) -> subprocess.Popen[str] | None:
        """A new process; None once the pool is being stopped."""
        with self._lock:
            if self._stopping:
                return None
            task.messages.parent.mkdir(parents=True, exist_ok=True)
            process = processes.start(task.command, task.messages)
            self._running.add(process)
        self._board.started(task.name)
        return process

    def _converse(self, task: Task, process: subprocess.Popen[str]) -> None:
        with process:
            try:
                processes.converse(process, task.request, task.observers)
            finally:
                processes.kill(process)
                with self._lock:
                    self._running.discard(process)

    def stop(self) -> None:
        """Let all processes write their checkpoints; a second Ctrl-C kills them."""
        with self._lock:
            self._stopping = True
            running = list(self._running)
        try:
            processes.stop(running)
        finally:
            for process in running:
                processes.kill(process)
