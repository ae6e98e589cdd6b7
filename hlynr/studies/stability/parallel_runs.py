"""The study's trainings side by side: each in a child process, begun again when it crashes, stopped together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from hlynr.records.stability import StabilityRun
from hlynr.runtime import processes
from hlynr.runtime.errors import UserError
from hlynr.runtime.processes import TrainingCrashedError
from hlynr.studies.process_pool import PoolStoppedError, ProcessPool, together
from hlynr.studies.stability.assignments import RECORD, Assignment, longest_first
from hlynr.studies.stability.stability_board import StabilityBoard
from hlynr.studies.stability.training import COMMAND

TRIES = 3
"""Of a run whose process crashes, each from its last checkpoint."""
MESSAGES = "messages.log"
"""In a run's folder: what its process has to say beside its progress."""


def work(runs: Sequence[Assignment], board: StabilityBoard, look: Callable[[], None]) -> None:
    """Carry out the runs, as many at a time as the board says; it knows afterwards what came of each.

    Args:
        look: called again and again meanwhile.

    Raises:
        KeyboardInterrupt: after all processes have stopped cleanly.
    """
    together([partial(_carry_out, run, board) for run in longest_first(runs)], board.workers, look)


def _carry_out(run: Assignment, board: StabilityBoard, children: ProcessPool) -> None:
    """One run to its end, in the worker's thread."""
    for tries_left in reversed(range(TRIES)):
        try:
            with children.one(COMMAND, run.out / MESSAGES) as process:
                board.rows[run.name].state = "running"
                processes.converse(process, run, [board.rows[run.name]])
        except PoolStoppedError:
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
            board.done(StabilityRun.read(run.out / RECORD))
            return
