"""The runs of a stability study, or of a confirmation, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from hlynr.records.stability import StabilityRun
from hlynr.runtime.errors import TrainingError
from hlynr.studies import process_pool
from hlynr.studies.process_pool import Task
from hlynr.studies.stability.assignments import Assignment, finished, longest_first
from hlynr.studies.stability.stability_board import StabilityBoard
from hlynr.studies.stability.training import COMMAND

MESSAGES = "messages.log"
"""In a run's folder: the standard error of its process."""


def complete(runs: Sequence[Assignment], board: StabilityBoard) -> list[StabilityRun]:
    """Train and judge the runs that have no record yet; returns the records, in the order of the runs.

    Raises:
        TrainingError: if no run has a record then.
        KeyboardInterrupt: after all processes have stopped cleanly.
    """
    for record in filter(None, map(finished, runs)):
        board.done(record)
    remaining = [run for run in longest_first(runs) if board.by_name[run.name].record is None]
    if remaining:
        from hlynr.evaluation import judge

        judge.compile_kernels(remaining[0].config)  # before several processes at once would try to
        tasks = [Task(run.name, COMMAND, run, run.out / MESSAGES, [board.by_name[run.name]]) for run in remaining]
        process_pool.run(tasks, board.workers, board)
    records = [row.record for row in board.by_name.values() if row.record]
    if not records:
        raise TrainingError("; ".join(f"{name}: {reason}" for name, reason in board.missing.items()))
    return records
