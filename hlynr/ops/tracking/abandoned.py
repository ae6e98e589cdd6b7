"""Closes the MLflow runs whose process was killed; the project's next retraining calls it, and `hlynr doctor --repair`.

Only the project's own machine can know that a process is dead. Of retrainings only one at a time runs there, so none
but the one that asks is alive; a training or a search by itself is known by its process.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hlynr.ops.tracking import runs
from hlynr.ops.tracking.calls import pages, set_tags
from hlynr.ops.tracking.presence import if_present
from hlynr.ops.tracking.store import Store
from hlynr.runtime.processes import is_running

if TYPE_CHECKING:
    from mlflow.entities import Run

MACHINE_TAG = "hlynr.machine"
PROCESS_TAG = "hlynr.process"
"""Number of the process, and when it began [s since the epoch]: numbers are used again."""


def of_project(root: Path) -> dict[str, str]:
    """Tags of a retraining's run: this machine and the project at ``root``.

    A run is made with them: one whose process is killed before they are set would be marked as running for ever.
    """
    return {MACHINE_TAG: socket.gethostname(), runs.FOLDER_TAG: str(root)}


def of_process() -> dict[str, str]:
    """Tags of the run of a training or a search: this machine and process."""
    own = psutil.Process()
    return {MACHINE_TAG: socket.gethostname(), PROCESS_TAG: f"{own.pid} {own.create_time():.0f}"}


@if_present
def claim(store: Store, run_id: str) -> None:
    """Tag a run that another process may have made with this machine and process."""
    set_tags(store.client, run_id, of_process())


def close(store: Store, root: Path, keep: str | None) -> None:
    """Close all that is `lost`; to be called while no other retraining runs in the project.

    Args:
        keep: the retraining that is resumed.
    """
    for run in lost(store, root):
        if keep is None or keep not in (run.info.run_id, run.data.tags.get(runs.PARENT_TAG)):
            close_run(store, run.info.run_id)


def close_run(store: Store, run_id: str) -> None:
    """Close the run of a dead process."""
    runs.finish_run(store, run_id, "KILLED", "Lost: its process was killed, or its machine.")


def lost(store: Store, root: Path) -> Iterator[Run]:
    """Runs of this machine and project that are marked as running, while no retraining runs in it.

    The attempts of a retraining come before it, so that a kill in between leaves none that is not found again. One
    whose retraining has ended is lost if its process is dead: it could not close it where the store did not answer.
    """
    ours = f"tags.`{MACHINE_TAG}` = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    found = list(_search(store, ours))
    running = {run.info.run_id for run in found}
    for run in found:
        if runs.RETRAINING_TAG in run.data.tags:
            if run.data.tags.get(runs.FOLDER_TAG) == str(root):
                attempts = f"tags.`{runs.PARENT_TAG}` = '{run.info.run_id}' and attributes.status = 'RUNNING'"
                yield from _search(store, attempts)
                yield run
        elif run.data.tags.get(runs.PARENT_TAG) not in running and _process_is_dead(run.data.tags.get(PROCESS_TAG, "")):
            yield run


def _search(store: Store, wanted: str) -> Iterator[Run]:
    return pages(store.client.search_runs, experiment_ids=[store.experiment_id], filter_string=wanted, max_results=1000)


def _process_is_dead(text: str) -> bool:
    number, _, born = text.partition(" ")
    if not (number.isdecimal() and born.isdecimal()):
        return False  # none is known
    return not is_running(int(number), int(born) + 2, int(born) - 2)
