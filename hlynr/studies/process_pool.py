"""Several child processes at a time, each in the care of a thread, and stopped together."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hlynr.runtime import processes

PAUSE = 0.2
"""[s] between two looks at how things stand."""


class PoolStoppedError(Exception):
    """Nothing more is begun."""


class ProcessPool:
    """The processes at work, to be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: set[subprocess.Popen[str]] = set()
        self.stopping = False

    @contextmanager
    def one(self, command: Sequence[str], messages: Path) -> Iterator[subprocess.Popen[str]]:
        """A process, which is gone afterwards.

        Args:
            messages: the file for what it has to say beside its progress.

        Raises:
            PoolStoppedError: if all have been told to stop.
        """
        with self._lock:
            if self.stopping:
                raise PoolStoppedError
            messages.parent.mkdir(parents=True, exist_ok=True)
            process = processes.start(command, messages)
            self._living.add(process)
        with process:
            try:
                yield process
            finally:
                processes.kill(process)
                with self._lock:
                    self._living.discard(process)

    def stop(self) -> None:
        """Let all come to their checkpoints; a second Ctrl-C ends the waiting."""
        with self._lock:
            self.stopping = True
            living = list(self._living)
        try:
            processes.stop(living)
        finally:
            for process in living:
                processes.kill(process)


def together(jobs: Sequence[Callable[[ProcessPool], None]], at_once: int, look: Callable[[], None]) -> None:
    """Do all jobs, begun in their order, ``at_once`` at a time.

    Args:
        jobs: each is given the children among which to begin its own.
        look: called again and again meanwhile.

    Raises:
        KeyboardInterrupt: after all processes have stopped cleanly.
        Exception: the first that came out of a job, when the others have ended.
    """
    children = ProcessPool()
    with ThreadPoolExecutor(at_once) as pool:
        futures = [pool.submit(partial(job, children)) for job in jobs]
        try:
            while wait(futures, PAUSE).not_done:
                look()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise
    for future in futures:
        future.result()
    look()
