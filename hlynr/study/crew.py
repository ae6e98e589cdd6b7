"""The study's trainings side by side: each in a child process, begun again when it crashes, stopped together."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from hlynr import child
from hlynr.child import TrainingCrashedError
from hlynr.errors import UserError
from hlynr.records import StudyRun
from hlynr.study.board import Board
from hlynr.study.runs import RECORD, Assignment, longest_first
from hlynr.study.worker import COMMAND

TRIES = 3
"""Of a run whose process crashes, each from its last checkpoint."""
MESSAGES = "messages.log"
"""In a run's folder: what its process has to say beside its progress."""
PAUSE = 0.2
"""[s] between two looks at how things stand."""


class _StoppingError(Exception):
    """Nothing more is begun."""


class _Children:
    """The processes at work, to be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: set[subprocess.Popen[str]] = set()
        self.stopping = False

    @contextmanager
    def one(self, run: Assignment) -> Iterator[subprocess.Popen[str]]:
        """A process for the run, which is gone afterwards."""
        with self._lock:
            if self.stopping:
                raise _StoppingError
            run.out.mkdir(parents=True, exist_ok=True)
            process = child.start(COMMAND, run.out / MESSAGES)
            self._living.add(process)
        with process:
            try:
                yield process
            finally:
                child.kill(process)
                with self._lock:
                    self._living.discard(process)

    def stop(self) -> None:
        """Let all come to their checkpoints; a second Ctrl-C ends the waiting."""
        with self._lock:
            self.stopping = True
            living = list(self._living)
        try:
            child.stop(living)
        finally:
            for process in living:
                child.kill(process)


def work(runs: Sequence[Assignment], board: Board, look: Callable[[], None]) -> None:
    """Carry out the runs, as many at a time as the board says; it knows afterwards what came of each.

    Args:
        look: called again and again meanwhile.

    Raises:
        KeyboardInterrupt: after all processes have stopped cleanly.
    """
    children = _Children()
    with ThreadPoolExecutor(board.workers) as pool:
        futures = [pool.submit(_carry_out, run, children, board) for run in longest_first(runs)]
        try:
            while wait(futures, PAUSE).not_done:
                look()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise
    for future in futures:
        future.result()  # raises what is a fault of the program
    look()


def _carry_out(run: Assignment, children: _Children, board: Board) -> None:
    """One run to its end, in the worker's thread."""
    for tries_left in reversed(range(TRIES)):
        try:
            with children.one(run) as process:
                board.rows[run.name].state = "running"
                child.converse(process, run, [board.rows[run.name]])
        except _StoppingError:
            return
        except TrainingCrashedError as error:
            if children.stopping:
                return
            if tries_left:
                board.notes.append(f"{run.name}: {error}; it goes on from its last checkpoint")
            else:
                board.failed(run.name, f"{error}, in the last of {TRIES} tries; see {run.out / MESSAGES}")
        except UserError as error:
            board.failed(run.name, str(error))
            return
        else:
            board.done(StudyRun.read(run.out / RECORD))
            return
