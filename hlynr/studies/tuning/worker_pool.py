"""The workers of a search on this machine: begun again when they are killed, stopped together."""

from __future__ import annotations

from functools import partial

from hlynr.runtime import processes
from hlynr.runtime.errors import UserError
from hlynr.runtime.processes import TrainingCrashedError
from hlynr.studies.live_board import shown
from hlynr.studies.process_pool import PoolStoppedError, ProcessPool, together
from hlynr.studies.tuning.search_board import SearchBoard
from hlynr.studies.tuning.search_config import SearchConfig
from hlynr.studies.tuning.search_worker import COMMAND, TrialRequest

TRIES = 3
"""Of a worker that keeps crashing before the search gets any further."""


def run_workers(search: SearchConfig, trials: int, workers: int, board: SearchBoard) -> None:
    """Work on the study until it has its trials.

    Args:
        workers: processes on this machine; others may work on the same study elsewhere.

    Raises:
        KeyboardInterrupt: after every worker has put its trial back into the line.
        TrainingCrashedError: if the workers keep crashing.
        hlynr.runtime.errors.UserError: what a worker found to be wrong.
    """
    failed: list[UserError] = []
    jobs = [
        partial(_keep_at_work, TrialRequest(search=search, worker=number, trials=trials), board, failed)
        for number in range(workers)
    ]
    with shown(board) as tell:

        def look() -> None:
            board.look()
            tell()

        together(jobs, workers, look)
    if failed and board.done < trials:
        raise failed[0]


def _keep_at_work(request: TrialRequest, board: SearchBoard, failed: list[UserError], children: ProcessPool) -> None:
    """One worker after another in the same place, in a thread of its own."""
    messages = request.search.folder / f"worker-{request.worker}.log"
    crashes, before = 0, board.done
    while True:
        try:
            with children.one(COMMAND, messages) as process:
                processes.converse(process, request, [])
        except PoolStoppedError:
            return
        except TrainingCrashedError as error:
            if children.stopping:
                return
            crashes, before = crashes + 1 if board.done == before else 1, board.done
            if crashes >= TRIES:
                failed.append(TrainingCrashedError(f"worker {request.worker}: {error}, {TRIES} times; see {messages}"))
                return
            board.notes.append(f"worker {request.worker}: {error}; another one takes its place")
        except UserError as error:
            failed.append(error)
            return
        else:
            return
